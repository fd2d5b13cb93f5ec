//! What must hold of any text that is read as STOMP. The stored corpus is held to it by the unit tests, too.

use common::codec::stomp::Version;
use common::codec::stomp::frame::Frames;
use common::codec::stomp::request::Request;

/// Checks it.
///
/// # Panics
/// It does not hold.
pub(crate) fn holds(text: &str) {
    for settled in [None, Some(Version::V10), Some(Version::V11), Some(Version::V12)] {
        let mut frames = Frames::new(text);
        let mut left = text.len() + 1;
        // A frame takes at least a byte, so this ends; what it says is read without a panic, or is a fault.
        while let Ok(Some(frame)) = frames.next(settled) {
            assert!(left > 0, "frames without end");
            left -= 1;
            assert!(text.contains(frame.body), "a body that was not said");
            for name in ["id", "receipt", "destination"] {
                assert_eq!(frame.header(name).is_some(), frame.raw_header(name).is_some());
                assert!(frame.raw_header(name).is_none_or(|raw| !raw.contains(['\n', '\0'])));
            }
            drop(Request::read(&frame, settled));
        }
    }
}

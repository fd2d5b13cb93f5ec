//! Random identifiers in the forms that the platform uses. Nothing reads meaning out of them.

use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use jiff::Timestamp;

/// A connection, request or message id of API Gateway: base64-like, 16 characters that end in `=`.
pub(crate) fn gateway() -> String {
    URL_SAFE.encode(rand::random::<[u8; 11]>())
}

/// An id of a Lambda invocation.
pub(crate) fn uuid() -> String {
    let random: u128 = rand::random();
    // Version 4, variant 1.
    let id = (random & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let part = |shift: u32, digits: usize| {
        let mask = (1_u128 << (4 * digits)) - 1;
        format!("{:0digits$x}", (id >> shift) & mask)
    };
    [part(96, 8), part(80, 4), part(64, 4), part(48, 4), part(0, 12)].join("-")
}

/// Lower-case hexadecimal digits of `byte_count` random bytes.
pub(crate) fn hexadecimal(byte_count: usize) -> String {
    (0..byte_count).map(|_| format!("{:02x}", rand::random::<u8>())).collect()
}

/// The root of an X-Ray trace: `Root=1-{seconds}-{96 random bits}`.
pub(crate) fn trace_root() -> String {
    format!("Root=1-{:08x}-{}", Timestamp::now().as_second(), hexadecimal(12))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_forms_of_the_platform() {
        let id = gateway();
        assert_eq!((id.len(), id.ends_with('=')), (16, true));
        let id = uuid();
        assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert_eq!(id.as_bytes()[14], b'4');
        assert!(matches!(id.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
        assert_eq!(hexadecimal(8).len(), 16);
        assert_eq!(trace_root().len(), 40);
    }
}

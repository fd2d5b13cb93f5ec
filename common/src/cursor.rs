//! Cursors: where a page ended, opaque to clients, bound to one list and one user, and signed.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::code::ErrorCode;
use crate::id::UserId;

/// How many bytes of the signature a cursor carries.
const TAG_BYTES: usize = 16;

/// Signs and opens cursors.
#[derive(Debug, Clone)]
pub struct Cursors {
    key: hmac::Key,
}

impl Cursors {
    /// With a secret that all functions share.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, secret) }
    }

    /// A cursor of a list for a user. `list` names the list and what it is of, such as `messages of room r`.
    #[must_use]
    pub fn seal<T: Serialize>(&self, list: &str, user: &UserId, place: &T) -> String {
        let place = serde_json::to_vec(place).expect("a place has string keys and no failing serializer");
        let tag = self.tag(list, user, &place);
        URL_SAFE_NO_PAD.encode([tag.as_slice(), place.as_slice()].concat())
    }

    /// The place that a cursor names.
    ///
    /// # Errors
    /// `bad_cursor` when it is damaged, or of another list or user.
    pub fn open<T: DeserializeOwned>(&self, list: &str, user: &UserId, cursor: &str) -> Result<T, ErrorCode> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| ErrorCode::BadCursor)?;
        let (tag, place) = bytes.split_at_checked(TAG_BYTES).ok_or(ErrorCode::BadCursor)?;
        aws_lc_rs::constant_time::verify_slices_are_equal(tag, &self.tag(list, user, place))
            .map_err(|_| ErrorCode::BadCursor)?;
        serde_json::from_slice(place).map_err(|_| ErrorCode::BadCursor)
    }

    fn tag(&self, list: &str, user: &UserId, place: &[u8]) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [list.as_bytes(), user.as_str().as_bytes()] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context.update(place);
        context.sign().as_ref().get(..TAG_BYTES).unwrap_or_default().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_opens_for_its_list_and_user_only() {
        let cursors = Cursors::new(&[7; 32]);
        let (alice, bob): (UserId, UserId) = ("alice".parse().unwrap(), "bob".parse().unwrap());
        let cursor = cursors.seal("messages r", &alice, &41_u64);
        assert_eq!(cursors.open::<u64>("messages r", &alice, &cursor), Ok(41));
        assert_eq!(cursors.open::<u64>("messages r", &bob, &cursor), Err(ErrorCode::BadCursor));
        assert_eq!(cursors.open::<u64>("messages s", &alice, &cursor), Err(ErrorCode::BadCursor));
        assert_eq!(Cursors::new(&[8; 32]).open::<u64>("messages r", &alice, &cursor), Err(ErrorCode::BadCursor));
    }

    #[test]
    fn a_changed_cursor_does_not_open() {
        let cursors = Cursors::new(&[7; 32]);
        let alice: UserId = "alice".parse().unwrap();
        let cursor = cursors.seal("rooms", &alice, &41_u64);
        for index in 0..cursor.len() {
            let mut changed = cursor.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(cursors.open::<u64>("rooms", &alice, &changed), Err(ErrorCode::BadCursor), "{index}");
        }
        for odd in ["", "A", "%%%", &"A".repeat(10_000)] {
            assert_eq!(cursors.open::<u64>("rooms", &alice, odd), Err(ErrorCode::BadCursor));
        }
    }
}

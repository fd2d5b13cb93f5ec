//! Texts that people write: message content and room names, checked once; and numbers that clients write as text.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::code::{ErrorCode, Refusal};
use crate::limits::{CONTENT_MAX_SCALARS, FRAME_MAX_BYTES, ROOM_NAME_MAX_SCALARS};

/// What an event frame adds around its content, at most: names, ids (a user id may be escaped sixfold), times.
const ENVELOPE_MAX_BYTES: usize = 2_048;

/// A message's content: 1 to 4,000 Unicode scalar values with something visible, kept byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Content(String);

impl Content {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Content {
    type Error = Refusal;
    fn try_from(text: String) -> Result<Self, Refusal> {
        if text.contains('\0') {
            return Err(Refusal::field("content"));
        }
        if !text.chars().any(is_visible) {
            return Err(ErrorCode::ContentEmpty.into());
        }
        if text.chars().count() > CONTENT_MAX_SCALARS || json_bytes(&text) > FRAME_MAX_BYTES - ENVELOPE_MAX_BYTES {
            return Err(ErrorCode::ContentTooLong.into());
        }
        Ok(Self(text))
    }
}

impl From<Content> for String {
    fn from(content: Content) -> String {
        content.0
    }
}

/// A group's name: 1 to 80 Unicode scalar values, without controls and direction overrides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoomName(String);

impl RoomName {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RoomName {
    type Error = Refusal;
    fn try_from(text: String) -> Result<Self, Refusal> {
        let good = text.chars().any(is_visible)
            && text.chars().count() <= ROOM_NAME_MAX_SCALARS
            && !text.chars().any(|character| character.is_control() || is_direction_control(character));
        if good { Ok(Self(text)) } else { Err(Refusal::field("name")) }
    }
}

impl From<RoomName> for String {
    fn from(name: RoomName) -> String {
        name.0
    }
}

/// A whole number written in digits alone; Rust's own reading would also take a sign.
#[must_use]
pub fn whole_number<N: FromStr>(text: &str) -> Option<N> {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_digits)
}

/// Bytes of the text as a JSON string, with its quotes.
fn json_bytes(text: &str) -> usize {
    let escapes: usize = text
        .bytes()
        .map(|byte| match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 1,
            0..=31 => 5,
            _ => 0,
        })
        .sum();
    text.len() + escapes + 2
}

/// Embeddings, overrides and isolates, which spill into the text around a name (Unicode Annex 9).
const fn is_direction_control(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
}

/// Whether a character shows on its own: not white space, a control, or one of Unicode's invisible characters
/// (Default_Ignorable_Code_Point, and the blanks that carry a letter's or symbol's category).
fn is_visible(character: char) -> bool {
    let invisible = matches!(character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d159}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}');
    !character.is_whitespace() && !character.is_control() && !invisible
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(), ErrorCode>) {
        let actual = Content::try_from(text.to_owned());
        assert_eq!(actual.as_ref().map(|_| ()).map_err(|refusal| refusal.code), expected, "{text:?}");
        if let Ok(content) = actual {
            assert_eq!(content.as_str(), text);
        }
    }

    /// Invisible-only content passed elsewhere: element-hq/element-web#34019, mastodon/mastodon#1095.
    #[test]
    fn content_needs_something_visible() {
        let empty = Err(ErrorCode::ContentEmpty);
        for text in ["", "   ", "\n\t", "\u{200b}", "\u{2800}", "\u{3164}", "\u{feff}", "\u{ad}", "\u{202e}"] {
            check(text, empty);
        }
        check("\u{200d}\u{200d}\u{200d}", empty);
        check(" \u{200b}\u{2800}\u{3164}\u{feff}\u{ad}\u{202e}\n", empty);
        for text in ["a", ".", "👨‍👩‍👧‍👦", "می\u{200c}خواهم", "שלום", "مرحبا", "안녕", "\u{202e}a"]
        {
            check(text, Ok(()));
        }
        check("a\0b", Err(ErrorCode::InvalidField));
    }

    #[test]
    fn content_fits_its_frame_in_the_worst_escape() {
        check(&"𝄞".repeat(4_000), Ok(()));
        check(&"𝄞".repeat(4_001), Err(ErrorCode::ContentTooLong));
        check(&"\"".repeat(4_000), Ok(()));
        check(&"\u{1}".repeat(3_999), Err(ErrorCode::ContentEmpty));
        check(&format!("a{}", "\u{1}".repeat(3_999)), Ok(()));
    }

    #[test]
    fn names_keep_to_their_line() {
        let check = |text: &str, good: bool| assert_eq!(RoomName::try_from(text.to_owned()).is_ok(), good, "{text:?}");
        check("마당", true);
        check(&"x".repeat(80), true);
        check(&"x".repeat(81), false);
        check("a\u{202e}b", false);
        check("a\nb", false);
        check(" ", false);
        check("", false);
    }
}

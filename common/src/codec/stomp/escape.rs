//! Escapes in header values: none in 1.0; `\n`, `\c` and `\\` in 1.1; `\r` too in 1.2. CONNECT and CONNECTED have none in
//! any version. Only reading knows them: what is written needs none, or is given back as the client wrote it.

use std::borrow::Cow;

use super::{ProtocolError, Version};

/// A header's name or value as it is meant; borrowed while it has no escape.
///
/// # Errors
/// It has an escape that the version does not know.
pub fn unescape(version: Version, text: &str) -> Result<Cow<'_, str>, ProtocolError> {
    if version == Version::V10 || !text.contains('\\') {
        return Ok(Cow::Borrowed(text));
    }
    let mut meant = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        meant.push(match character {
            '\\' => match characters.next() {
                Some('n') => '\n',
                Some('c') => ':',
                Some('\\') => '\\',
                Some('r') if version == Version::V12 => '\r',
                _ => return Err(ProtocolError::Escape),
            },
            character => character,
        });
    }
    Ok(Cow::Owned(meant))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_has_its_escapes() {
        let check = |version, text, expected: Result<&str, ProtocolError>| {
            assert_eq!(unescape(version, text), expected.map(Cow::Borrowed), "{version} {text}");
        };
        let undefined = Err(ProtocolError::Escape);
        check(Version::V12, r"a\cb\\n\n\r", Ok("a:b\\n\n\r"));
        check(Version::V11, r"a\cb\\n\n", Ok("a:b\\n\n"));
        check(Version::V11, r"\r", undefined);
        check(Version::V12, r"\t", undefined);
        check(Version::V12, "x\\", undefined);
        check(Version::V10, r"\t\c\", Ok(r"\t\c\"));
        check(Version::V12, "안녕", Ok("안녕"));
    }

    proptest::proptest! {
        #[test]
        fn unescaping_undoes_what_clients_do(text in "[^\\x00]{0,40}") {
            let escaped = text.replace('\\', "\\\\").replace('\r', "\\r").replace('\n', "\\n").replace(':', "\\c");
            proptest::prop_assert_eq!(unescape(Version::V12, &escaped).unwrap(), text);
        }

        #[test]
        fn unescaping_never_panics(text in ".{0,80}") {
            for version in Version::ALL {
                drop(unescape(version, &text));
            }
        }
    }
}

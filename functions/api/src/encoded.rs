//! Percent-encoding, decoded once; what is no encoding of a text is refused, not guessed.

use percent_encoding::percent_decode_str;

/// The text behind a part of a path or query; none when an escape is cut or the bytes are not UTF-8.
pub(crate) fn decode(encoded: &str) -> Option<String> {
    let is_escape = |after: &str| after.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if !encoded.split('%').skip(1).all(is_escape) {
        return None;
    }
    percent_decode_str(encoded).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_escapes_are_decoded() {
        let check =
            |encoded: &str, expected: Option<&str>| assert_eq!(decode(encoded).as_deref(), expected, "{encoded}");
        check("", Some(""));
        check("a%2Bb%3d+", Some("a+b=+"));
        check("%25ZZ", Some("%ZZ"));
        for cut in ["%", "a%2", "%ZZ", "%+1", "%%41", "%ff"] {
            check(cut, None);
        }
    }
}

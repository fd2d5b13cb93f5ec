//! Bytes of a record as text that is safe to print: nothing of a key, header or value ever moves a cursor, sets a colour
//! or turns the direction of a line.

use std::fmt::Write as _;

/// Bytes of one line of a dump.
const DUMP_WIDTH: usize = 16;

/// Text as it is, but controls, invisible and direction characters as `\u{…}` and the like, bytes that are no UTF-8 as
/// `\x…`, and a backslash doubled, so that the bytes can be told from the text.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    pieces(bytes).collect()
}

/// The same, cut with an ellipsis before it is longer than so many characters.
pub(crate) fn escaped_at_most(bytes: &[u8], characters_max: usize) -> String {
    let (mut text, mut count) = (String::new(), 0);
    for piece in pieces(bytes) {
        count += piece.chars().count();
        if count > characters_max {
            text.push('…');
            break;
        }
        text.push_str(&piece);
    }
    text
}

/// One character as it is shown; equal to it when it is plainly visible.
pub(crate) fn shown(character: char) -> String {
    match character {
        '"' | '\'' => character.to_string(),
        // Behind a letter, so that a combining mark stays what it is.
        _ => format!("a{character}").escape_debug().skip(1).collect(),
    }
}

fn pieces(bytes: &[u8]) -> impl Iterator<Item = String> {
    bytes.utf8_chunks().flat_map(|chunk| {
        let invalid = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}"));
        chunk.valid().chars().map(shown).chain(invalid)
    })
}

/// Bytes as offsets, hexadecimal digits and ASCII, 16 a line.
pub(crate) fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (number, line) in bytes.chunks(DUMP_WIDTH).enumerate() {
        let hexadecimal: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let is_plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        let ascii: String = line.iter().map(|byte| if is_plain(*byte) { char::from(*byte) } else { '.' }).collect();
        let offset = number * DUMP_WIDTH;
        writeln!(text, "{offset:08x}  {:<47}  |{ascii}|", hexadecimal.join(" ")).expect("a string takes all");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_passes() {
        let check = |bytes: &[u8], expected: &str| assert_eq!(escaped(bytes), expected);
        check("g-1 지민 é ที่ it's \"x\"".as_bytes(), "g-1 지민 é ที่ it's \"x\"");
        check(b"\x1b[31m\r\n\t\0\x7f", "\\u{1b}[31m\\r\\n\\t\\0\\u{7f}");
        check("\u{9b}2J\u{202e}\u{200b}\u{2028}".as_bytes(), "\\u{9b}2J\\u{202e}\\u{200b}\\u{2028}");
        check(b"\xff\xfe\0", "\\xff\\xfe\\0");
        check(br"\x41", r"\\x41");
        check(b"", "");
    }

    #[test]
    fn no_scalar_value_brings_a_control_along() {
        let is_safe = |text: &str| !text.chars().any(|character| character.is_control() || character == '\u{202e}');
        for character in (char::MIN..=char::MAX).take(0x3000) {
            assert!(is_safe(&escaped(character.to_string().as_bytes())), "{character:?}");
        }
        for byte in 0..=u8::MAX {
            assert!(is_safe(&escaped(&[byte])), "{byte}");
        }
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let check = |text: &str, max, expected: &str| assert_eq!(escaped_at_most(text.as_bytes(), max), expected);
        check("abc", 3, "abc");
        check("abcd", 3, "abc…");
        check("a\n\n", 4, "a\\n…");
        check("지민아", 2, "지민…");
        check("", 0, "");
    }

    #[test]
    fn a_dump_has_every_byte() {
        assert_eq!(dump(b""), "");
        let expected = "00000000  ff fe 00 41 42 43 44 45 46 47 48 49 4a 4b 4c 20  |...ABCDEFGHIJKL |\n\
                        00000010  4d                                               |M|\n";
        assert_eq!(dump(b"\xff\xfe\0ABCDEFGHIJKL M"), expected);
    }
}

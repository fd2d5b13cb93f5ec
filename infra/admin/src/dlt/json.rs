//! A record's value as JSON: laid out for reading without a change of what it says, or its envelope alone.

use std::fmt::Write as _;

use serde_json::Value;

use super::escape::{escaped_at_most, shown};

/// What every record says beside its content. Other fields may hold what people wrote, under whatever name.
const ENVELOPE: [&str; 11] =
    ["v", "id", "kind", "roomId", "userId", "sender", "clientMessageId", "messageId", "seq", "receivedAt", "at"];
/// The longest field shown of an envelope: a user id of 128 bytes, escaped.
const FIELD_MAX_CHARACTERS: usize = 160;
const INDENT: &str = "  ";

/// The envelope of a JSON object, as name and escaped value, and how many fields it has beside.
pub(crate) fn envelope(value: &[u8]) -> Option<(Vec<(&'static str, String)>, usize)> {
    let Ok(Value::Object(fields)) = serde_json::from_slice(value) else { return None };
    let shown = |name: &&'static str| {
        let text = match fields.get(*name)? {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
        };
        Some((*name, escaped_at_most(text.as_bytes(), FIELD_MAX_CHARACTERS)))
    };
    let shown: Vec<_> = ENVELOPE.iter().filter_map(shown).collect();
    let others = fields.len() - shown.len();
    Some((shown, others))
}

/// JSON with a line for each field and element, `None` for what is not JSON. Fields stand in their order, also those
/// that stand twice; numbers and strings as they are written, but for characters that a terminal might obey.
pub(crate) fn laid_out(value: &[u8]) -> Option<String> {
    // Also bounds the depth.
    serde_json::from_slice::<Value>(value).ok()?;
    let (mut text, mut depth, mut in_string, mut escaping) = (String::new(), 0_usize, false, false);
    let mut characters =
        str::from_utf8(value).ok()?.chars().filter(|character| !matches!(character, '\n' | '\r' | '\t')).peekable();
    while let Some(character) = characters.next() {
        if in_string {
            push_safe(&mut text, character);
            in_string = escaping || character != '"';
            escaping = !escaping && character == '\\';
            continue;
        }
        match character {
            ' ' => {}
            '{' | '[' => {
                text.push(character);
                while characters.next_if_eq(&' ').is_some() {}
                if let Some(end) = characters.next_if(|next| matches!(next, '}' | ']')) {
                    text.push(end);
                } else {
                    depth += 1;
                    new_line(&mut text, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut text, depth);
                text.push(character);
            }
            ',' => {
                text.push(character);
                new_line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            _ => {
                in_string = character == '"';
                text.push(character);
            }
        }
    }
    text.push('\n');
    Some(text)
}

fn new_line(text: &mut String, depth: usize) {
    text.push('\n');
    text.push_str(&INDENT.repeat(depth));
}

/// A character of a string; one that is not plainly visible as JSON escapes it.
fn push_safe(text: &mut String, character: char) {
    if character == '\\' || shown(character).chars().eq([character]) {
        return text.push(character);
    }
    for unit in character.encode_utf16(&mut [0; 2]) {
        write!(text, "\\u{unit:04x}").expect("a string takes all");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_laid_out_as_it_is_written() {
        let check = |value: &str, expected: &str| assert_eq!(laid_out(value.as_bytes()).as_deref(), Some(expected));
        check(r#"{"b":1.50,"a":[ ],"b":{"x":[1,"2"]}}"#, {
            "{\n  \"b\": 1.50,\n  \"a\": [],\n  \"b\": {\n    \"x\": [\n      1,\n      \"2\"\n    ]\n  }\n}\n"
        });
        check("\n { } ", "{}\n");
        check(r#""a\"{,:}\\""#, "\"a\\\"{,:}\\\\\"\n");
        check("12345678901234567890123", "12345678901234567890123\n");
        check("[null,\r\ntrue]", "[\n  null,\n  true\n]\n");
    }

    #[test]
    fn what_it_says_stays_and_no_terminal_obeys() {
        let value = "{\"a\u{9b}b\":\"\u{202e}it's \u{7f} \u{e0001} 지민 \\u001b\"}";
        let text = laid_out(value.as_bytes()).unwrap();
        let is_plain = |character: char| "\n\\".contains(character) || shown(character).chars().eq([character]);
        assert!(text.chars().all(is_plain), "{text:?}");
        assert!(text.contains("지민"));
        let (read, original): (Value, Value) =
            (serde_json::from_str(&text).unwrap(), serde_json::from_str(value).unwrap());
        assert_eq!(read, original);
    }

    #[test]
    fn what_is_not_json_is_none() {
        for value in [b"\xff\xfe\0".as_slice(), b"", b"{", "[".repeat(20_000).as_bytes(), b"\"\xff\"", b"{} {}"] {
            assert_eq!(laid_out(value), None);
        }
    }

    #[test]
    fn an_envelope_has_no_content() {
        let value = br#"{"v":1,"kind":"message.send","roomId":{"secret":1},"sender":"al\u001bice","content":"secret"}"#;
        let (fields, others) = envelope(value).unwrap();
        let expected = [("v", "1"), ("kind", "message.send"), ("sender", "al\\u{1b}ice")];
        assert_eq!(fields, expected.map(|(name, value)| (name, value.to_owned())));
        assert_eq!(others, 2);
        assert_eq!(envelope(b"[1]"), None);
        assert_eq!(envelope(b"secret"), None);
    }
}

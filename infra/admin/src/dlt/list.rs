//! One line a letter: where it is, where it came from, when and why, its key and size, never its content.

use std::io::Write;

use clap::Args;
use common::config::KafkaConfig;
use serde_json::{Value, json};

use super::DltError;
use super::escape::{escaped, escaped_at_most};
use super::letter::Letter;
use super::reader::Reader;
use super::selection::Selection;

/// The longest key of ours that needs no escape, a user id of 128 bytes, fits.
const KEY_MAX_CHARACTERS: usize = 128;
/// Longer than every reason of ours.
const REASON_MAX_CHARACTERS: usize = 200;

/// Which letters, and how.
#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    #[command(flatten)]
    selection: Selection,
    /// Stop after so many letters
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Print one JSON object a letter
    #[arg(long)]
    json: bool,
}

/// Lists letters in the order of their partitions.
///
/// # Errors
/// The topic cannot be read, or the output not written.
pub(crate) fn run(options: &ListOptions, config: &KafkaConfig, output: &mut impl Write) -> Result<(), DltError> {
    let reader = Reader::open(config)?;
    let mut walk = reader.walk(reader.all()?);
    let mut count = 0;
    while options.limit.is_none_or(|limit| count < limit)
        && let Some(letter) = walk.next()?
    {
        if options.selection.takes(&letter) {
            count += 1;
            let line = if options.json { object(&letter).to_string() } else { line(&letter) };
            writeln!(output, "{line}")?;
        }
    }
    match count {
        1 => eprintln!("admin: 1 letter"),
        _ => eprintln!("admin: {count} letters"),
    }
    Ok(())
}

fn line(letter: &Letter) -> String {
    let (origin, time, reason) = match letter.origin() {
        Ok(origin) => {
            let topic = escaped_at_most(origin.topic.as_bytes(), KEY_MAX_CHARACTERS);
            let place = format!("{topic}/{}/{}", origin.partition, origin.offset);
            (place, origin.time.to_string(), escaped_at_most(origin.reason.as_bytes(), REASON_MAX_CHARACTERS))
        }
        Err(error) => ("-".to_owned(), "-".to_owned(), error.to_string()),
    };
    let size = letter.value.as_ref().map_or("no value".to_owned(), |value| format!("{} B", value.len()));
    let decodable = match letter.decoded() {
        Ok(()) => "decodable",
        Err(_) if letter.left_out_bytes().is_some() => "left out",
        Err(_) => "undecodable",
    };
    let key = match &letter.key {
        Some(key) => format!("\"{}\"", escaped_at_most(key, KEY_MAX_CHARACTERS)),
        None => "no key".to_owned(),
    };
    let id = letter.id.to_string();
    format!("{id:<8} {origin:<22} {time:<24} {size:>9}  {decodable:<11}  {key}  {reason}")
}

fn object(letter: &Letter) -> Value {
    let origin = letter.origin();
    let place = origin.as_ref().ok().map(|origin| {
        let topic = escaped(origin.topic.as_bytes());
        json!({"topic": topic, "partition": origin.partition, "offset": origin.offset})
    });
    json!({
        "id": letter.id.to_string(),
        "origin": place,
        "reason": origin.as_ref().ok().map(|origin| escaped(origin.reason.as_bytes())),
        "time": origin.as_ref().ok().map(|origin| origin.time),
        "key": letter.key.as_ref().map(|key| escaped_at_most(key, KEY_MAX_CHARACTERS)),
        "valueBytes": letter.value.as_ref().map(Vec::len),
        "leftOutBytes": letter.left_out_bytes(),
        "decodable": letter.decoded().is_ok(),
    })
}

#[cfg(test)]
mod tests {
    use common::record::origin::left_out_header;

    use super::*;

    #[test]
    fn a_line_tells_place_origin_time_size_key_and_reason() {
        let letter = Letter::sample("chat-messages", "the value does not follow the schema");
        let expected = "2:5      chat-messages/1/17     2024-02-19T07:11:42.080Z       3 B  undecodable  \"room-1\"  \
                        the value does not follow the schema";
        assert_eq!(line(&letter), expected);
        let expected = json!({
            "id": "2:5", "origin": {"topic": "chat-messages", "partition": 1, "offset": 17},
            "reason": "the value does not follow the schema", "time": "2024-02-19T07:11:42.080Z",
            "key": "room-1", "valueBytes": 3, "leftOutBytes": null, "decodable": false,
        });
        assert_eq!(object(&letter), expected);
    }

    #[test]
    fn a_letter_without_anything_has_a_line_too() {
        let mut letter = Letter::sample("chat-messages", "x");
        (letter.key, letter.value) = (None, None);
        letter.headers.clear();
        let expected = "2:5      -                      -                         no value  undecodable  no key  \
                        the header madang-origin-topic is missing or unreadable";
        assert_eq!(line(&letter), expected);
        let expected = json!({
            "id": "2:5", "origin": null, "reason": null, "time": null, "key": null, "valueBytes": null,
            "leftOutBytes": null, "decodable": false,
        });
        assert_eq!(object(&letter), expected);
    }

    #[test]
    fn a_value_that_was_left_out_is_told_apart_from_none() {
        let mut letter = Letter::sample("chat-messages", "the value does not follow the schema");
        letter.value = None;
        letter.headers.push(left_out_header(3_000_000));
        let expected = "2:5      chat-messages/1/17     2024-02-19T07:11:42.080Z  no value  left out     \"room-1\"  \
                        the value does not follow the schema";
        assert_eq!(line(&letter), expected);
        let object = object(&letter);
        assert_eq!((&object["valueBytes"], &object["leftOutBytes"]), (&Value::Null, &json!(3_000_000)));
    }

    #[test]
    fn a_hostile_letter_is_one_safe_line() {
        let mut letter = Letter::sample("a\u{1b}]0;x\u{7}", "two\nlines \u{202e}");
        letter.key = Some(b"\x1b[2J\xff".repeat(1_000));
        letter.value = Some(b"\x1b[2J".to_vec());
        for text in [line(&letter), object(&letter).to_string()] {
            assert!(!text.chars().any(|character| character.is_control() || character == '\u{202e}'), "{text:?}");
            assert!(text.len() < 1_000, "{text}");
        }
    }
}

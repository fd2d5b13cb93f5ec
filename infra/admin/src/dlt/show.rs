//! One letter whole. Message content is private: without `--value` only the envelope of the record is shown.

use std::fmt::Write as _;
use std::io::Write;

use clap::Args;
use common::config::KafkaConfig;

use super::DltError;
use super::escape::{dump, escaped};
use super::json::{envelope, laid_out};
use super::letter::{Letter, LetterId};
use super::reader::Reader;

/// Which letter, and how much of it.
#[derive(Debug, Args)]
pub(crate) struct ShowOptions {
    /// The letter, by partition and offset
    #[arg(value_name = "P:O")]
    id: LetterId,
    /// Print the value too, which may hold what people wrote: JSON laid out, anything else as a hexadecimal dump
    #[arg(long)]
    value: bool,
}

/// Shows a letter.
///
/// # Errors
/// There is none at this place, or it cannot be read, or the output not written.
pub(crate) fn run(options: &ShowOptions, config: &KafkaConfig, output: &mut impl Write) -> Result<(), DltError> {
    let reader = Reader::open(config)?;
    for letter in reader.letters(&[options.id])? {
        let content = if options.value { Content::Whole } else { Content::Envelope };
        write!(output, "{}", text(&letter, content))?;
    }
    Ok(())
}

#[derive(Debug, Clone, Copy)]
enum Content {
    Envelope,
    Whole,
}

fn text(letter: &Letter, content: Content) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| writeln!(text, "{name:<10} {value}").expect("a string takes all");
    line("letter", &letter.id.to_string());
    match letter.origin() {
        Ok(origin) => {
            line("origin", &format!("{}/{}/{}", escaped(origin.topic.as_bytes()), origin.partition, origin.offset));
            line("reason", &escaped(origin.reason.as_bytes()));
            line("time", &origin.time.to_string());
        }
        Err(error) => line("origin", &error.to_string()),
    }
    line("key", &letter.key.as_deref().map_or("no key".to_owned(), |key| format!("\"{}\"", escaped(key))));
    match (&letter.value, letter.left_out_bytes()) {
        (Some(value), _) => line("size", &format!("{} bytes", value.len())),
        (None, None) => line("size", "no value"),
        (None, Some(bytes)) => {
            line("size", &format!("no value: its {bytes} bytes stand at the origin alone, and cannot be replayed"));
        }
    }
    match letter.decoded() {
        Ok(()) => line("decodable", "yes"),
        Err(reason) => line("decodable", &format!("no: {reason}")),
    }
    for (name, value) in &letter.headers {
        let value = value.as_deref().map_or("null".to_owned(), |value| format!("\"{}\"", escaped(value)));
        line("header", &format!("{} = {value}", escaped(name.as_bytes())));
    }
    match (&letter.value, content) {
        (None, _) => {}
        (Some(value), Content::Envelope) => match envelope(value) {
            Some((fields, others)) => {
                fields.iter().for_each(|(name, value)| line("field", &format!("{name} = \"{value}\"")));
                line("content", &format!("{others} more fields, shown with --value"));
            }
            None => line("content", "not a JSON object, shown with --value"),
        },
        (Some(value), Content::Whole) => {
            text.push_str("value\n");
            text.push_str(&laid_out(value).unwrap_or_else(|| dump(value)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use common::record::origin::left_out_header;

    use super::*;

    fn check(letter: &Letter, content: Content, end: &str) {
        let text = text(letter, content);
        let head = "letter     2:5\n\
                    origin     chat-messages/1/17\n\
                    reason     impossible\n\
                    time       2024-02-19T07:11:42.080Z\n\
                    key        \"room-1\"\n";
        assert_eq!(text, format!("{head}{end}"));
    }

    #[test]
    fn content_is_shown_only_when_it_is_asked_for() {
        let mut letter = Letter::sample("chat-messages", "impossible");
        letter.headers.insert(0, ("own\n".to_owned(), Some(vec![0, 255])));
        letter.headers.insert(1, ("null".to_owned(), None));
        letter.value = Some(br#"{"v":1,"kind":"message.send","content":"secret"}"#.to_vec());
        let middle = "size       48 bytes\n\
                      decodable  no: the value does not follow the schema\n\
                      header     own\\n = \"\\0\\xff\"\n\
                      header     null = null\n\
                      header     madang-origin-topic = \"chat-messages\"\n\
                      header     madang-origin-partition = \"1\"\n\
                      header     madang-origin-offset = \"17\"\n\
                      header     madang-origin-reason = \"impossible\"\n\
                      header     madang-origin-time = \"2024-02-19T07:11:42.080Z\"\n";
        let envelope = "field      v = \"1\"\n\
                        field      kind = \"message.send\"\n\
                        content    1 more fields, shown with --value\n";
        check(&letter, Content::Envelope, &format!("{middle}{envelope}"));
        let value = "value\n{\n  \"v\": 1,\n  \"kind\": \"message.send\",\n  \"content\": \"secret\"\n}\n";
        check(&letter, Content::Whole, &format!("{middle}{value}"));
    }

    #[test]
    fn bytes_are_dumped_and_no_value_is_said() {
        let mut letter = Letter::sample("chat-messages", "impossible");
        assert!(
            text(&letter, Content::Whole)
                .ends_with("\nvalue\n00000000  ff fe 00                                         |...|\n")
        );
        assert!(text(&letter, Content::Envelope).ends_with("\ncontent    not a JSON object, shown with --value\n"));
        letter.value = None;
        assert!(text(&letter, Content::Whole).contains("\nsize       no value\n"));
        letter.headers.push(left_out_header(3_000_000));
        let size = "\nsize       no value: its 3000000 bytes stand at the origin alone, and cannot be replayed\n";
        assert!(text(&letter, Content::Whole).contains(size));
    }
}

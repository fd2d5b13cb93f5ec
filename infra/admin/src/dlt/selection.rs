//! Which letters are meant.

use clap::Args;

use super::is_origin_topic;
use super::letter::Letter;

/// Letters by what stands in their headers.
#[derive(Debug, Default, Args)]
pub(crate) struct Selection {
    /// Only letters with this reason, word for word as it is listed
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Only letters that came from this topic
    #[arg(long, value_parser = origin_topic)]
    pub(crate) topic: Option<String>,
}

impl Selection {
    /// Whether a letter is meant; one without a valid origin is only where nothing is asked of it.
    pub(crate) fn takes(&self, letter: &Letter) -> bool {
        let origin = letter.origin().ok();
        let is = |wanted: &Option<String>, found: Option<&String>| wanted.is_none() || wanted.as_ref() == found;
        is(&self.reason, origin.as_ref().map(|origin| &origin.reason))
            && is(&self.topic, origin.as_ref().map(|origin| &origin.topic))
    }
}

fn origin_topic(text: &str) -> Result<String, &'static str> {
    if is_origin_topic(text) { Ok(text.to_owned()) } else { Err("not a topic of ours that letters come from") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_and_topic_must_both_be_as_wanted() {
        let letter = Letter::sample("chat-messages", "impossible");
        let check = |reason: Option<&str>, topic: Option<&str>, expected: bool| {
            let selection = Selection { reason: reason.map(str::to_owned), topic: topic.map(str::to_owned) };
            assert_eq!(selection.takes(&letter), expected, "{selection:?}");
        };
        check(None, None, true);
        check(Some("impossible"), None, true);
        check(Some("impossibl"), None, false);
        check(Some("impossible"), Some("chat-messages"), true);
        check(Some("impossible"), Some("chat-presence"), false);
    }

    #[test]
    fn without_an_origin_a_letter_has_no_reason() {
        let mut letter = Letter::sample("chat-messages", "impossible");
        letter.headers.clear();
        assert!(Selection::default().takes(&letter));
        assert!(!Selection { reason: Some("impossible".to_owned()), topic: None }.takes(&letter));
    }
}

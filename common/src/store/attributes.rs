//! Items as maps of attributes, read and written by name.

use std::collections::HashMap;
use std::str::FromStr;

use aws_sdk_dynamodb::types::AttributeValue;

use super::StoreError;
use super::keys::Key;
use crate::id::Seq;
use crate::time::Time;

/// One item.
#[derive(Debug, Clone, Default)]
pub(super) struct Item(pub(super) HashMap<String, AttributeValue>);

/// A text attribute.
pub(super) fn text(text: impl ToString) -> AttributeValue {
    AttributeValue::S(text.to_string())
}

/// A number attribute.
pub(super) fn number(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// Names for attributes that DynamoDB reserves.
pub(super) fn names(pairs: &[(&str, &str)]) -> Option<HashMap<String, String>> {
    Some(pairs.iter().map(|(name, attribute)| ((*name).to_owned(), (*attribute).to_owned())).collect())
}

impl Item {
    /// A new item with its key.
    pub(super) fn at(key: Key) -> Self {
        Self(key.into_item())
    }

    /// This item with one more attribute.
    pub(super) fn with(mut self, name: &str, value: AttributeValue) -> Self {
        self.0.insert(name.to_owned(), value);
        self
    }

    pub(super) fn optional_text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_s().ok().map(String::as_str)
    }

    pub(super) fn text(&self, name: &'static str) -> Result<&str, StoreError> {
        self.optional_text(name).ok_or(StoreError::Item(name))
    }

    pub(super) fn parsed<T: FromStr>(&self, name: &'static str) -> Result<T, StoreError> {
        self.text(name)?.parse().map_err(|_| StoreError::Item(name))
    }

    pub(super) fn number<T: FromStr>(&self, name: &'static str) -> Result<T, StoreError> {
        let number = self.0.get(name).and_then(|value| value.as_n().ok());
        number.and_then(|number| number.parse().ok()).ok_or(StoreError::Item(name))
    }

    pub(super) fn optional_number<T: FromStr>(&self, name: &'static str) -> Result<Option<T>, StoreError> {
        if self.0.contains_key(name) { self.number(name).map(Some) } else { Ok(None) }
    }

    pub(super) fn seq(&self, name: &'static str) -> Result<Seq, StoreError> {
        Seq::new(self.number(name)?).map_err(|_| StoreError::Item(name))
    }

    pub(super) fn time(&self, name: &'static str) -> Result<Time, StoreError> {
        self.number(name).map(Time::from_unix_ms)
    }

    pub(super) fn texts(&self, name: &'static str) -> Result<Vec<&str>, StoreError> {
        let values = self.0.get(name).and_then(|value| value.as_l().ok()).ok_or(StoreError::Item(name))?;
        values.iter().map(|value| value.as_s().map(String::as_str).map_err(|_| StoreError::Item(name))).collect()
    }

    pub(super) fn text_set(&self, name: &str) -> &[String] {
        self.0.get(name).and_then(|value| value.as_ss().ok()).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn list(&self, name: &str) -> &[AttributeValue] {
        self.0.get(name).and_then(|value| value.as_l().ok()).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(|value| value.as_bool().ok()).copied().unwrap_or_default()
    }

    pub(super) fn map(&self, name: &str) -> Option<&HashMap<String, AttributeValue>> {
        self.0.get(name)?.as_m().ok()
    }

    /// The sort key, to be split by the keys module.
    pub(super) fn sort_key(&self) -> Result<&str, StoreError> {
        self.text("SK")
    }

    /// Whether the item's `ttl` is over, although DynamoDB has not removed it yet.
    pub(super) fn is_over(&self, now: Time) -> bool {
        matches!(self.optional_number::<i64>("ttl"), Ok(Some(ttl)) if ttl <= now.unix_seconds())
    }
}

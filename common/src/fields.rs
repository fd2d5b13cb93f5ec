//! Reading JSON that strangers wrote: an object, no key twice at any depth, at most 16 levels, whole Unicode.
//! Text in, [`Fields`] out; a field is taken by name and type, or refused by name.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::code::{ErrorCode, Refusal};
use crate::limits::{INTEGER_MAX, JSON_DEPTH_MAX};

/// The members of one JSON object.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a whole text as one object.
    ///
    /// # Errors
    /// `bad_json` and `duplicate_key`.
    pub fn parse(text: &[u8]) -> Result<Self, ErrorCode> {
        let duplicate = Cell::new(false);
        let mut reader = serde_json::Deserializer::from_slice(text);
        let value = Strict { depth: 0, duplicate: &duplicate }
            .deserialize(&mut reader)
            .and_then(|value| reader.end().map(|()| value));
        match value {
            Ok(Value::Object(members)) => Ok(Self(members)),
            Err(_) if duplicate.get() => Err(ErrorCode::DuplicateKey),
            Ok(_) | Err(_) => Err(ErrorCode::BadJson),
        }
    }

    /// A member, unless it is absent or `null`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// An optional string.
    ///
    /// # Errors
    /// `invalid_field` when it is something else.
    pub fn optional_text(&self, name: &'static str) -> Result<Option<&str>, Refusal> {
        self.get(name).map(|value| value.as_str().ok_or(Refusal::field(name))).transpose()
    }

    /// A string that must be there.
    ///
    /// # Errors
    /// `invalid_field` when it is absent or something else.
    pub fn text(&self, name: &'static str) -> Result<&str, Refusal> {
        self.optional_text(name)?.ok_or(Refusal::field(name))
    }

    /// A checked text, such as an identity.
    ///
    /// # Errors
    /// `invalid_field` when it is absent, something else, or does not pass the check.
    pub fn parsed<T: FromStr>(&self, name: &'static str) -> Result<T, Refusal> {
        self.text(name)?.parse().map_err(|_| Refusal::field(name))
    }

    /// An optional checked text.
    ///
    /// # Errors
    /// `invalid_field` when it is there and does not pass the check.
    pub fn optional_parsed<T: FromStr>(&self, name: &'static str) -> Result<Option<T>, Refusal> {
        self.optional_text(name)?.map(|text| text.parse().map_err(|_| Refusal::field(name))).transpose()
    }

    /// An optional whole number from 0 to 2^53 - 1, however it is written: clients whose numbers are all floating point
    /// write `2.0`.
    ///
    /// # Errors
    /// `invalid_field` when it is something else.
    pub fn optional_integer(&self, name: &'static str) -> Result<Option<u64>, Refusal> {
        // What is beyond the range becomes the largest number, which is beyond it, too.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is whole, and not negative")]
        let whole = |number: f64| (number.fract() == 0.0 && number >= 0.0).then_some(number as u64);
        let number = |value: &Value| value.as_u64().or_else(|| whole(value.as_f64()?));
        let number = |value: &Value| number(value).filter(|number| *number <= INTEGER_MAX);
        self.get(name).map(|value| number(value).ok_or(Refusal::field(name))).transpose()
    }

    /// A list of checked texts; none stands for an empty one.
    ///
    /// # Errors
    /// `invalid_field` when it is no list, or one entry is no text or does not pass the check.
    pub fn list<T: FromStr>(&self, name: &'static str) -> Result<Vec<T>, Refusal> {
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        let entries = value.as_array().ok_or(Refusal::field(name))?;
        let entry = |value: &Value| value.as_str().and_then(|text| text.parse().ok()).ok_or(Refusal::field(name));
        entries.iter().map(entry).collect()
    }

    /// A list of checked texts, each once: what stands there again is left out.
    ///
    /// # Errors
    /// As for [`Self::list`], and when the list has more entries or fewer than `counts`.
    pub fn list_without_repeats<T>(&self, name: &'static str, counts: RangeInclusive<usize>) -> Result<Vec<T>, Refusal>
    where
        T: FromStr + Clone + Eq + Hash,
    {
        let mut entries: Vec<T> = self.list(name)?;
        if !counts.contains(&entries.len()) {
            return Err(Refusal::field(name));
        }
        let mut seen = HashSet::new();
        entries.retain(|entry| seen.insert(entry.clone()));
        Ok(entries)
    }

    /// An optional object.
    ///
    /// # Errors
    /// `invalid_field` when it is something else.
    pub fn optional_object(&self, name: &'static str) -> Result<Option<Self>, Refusal> {
        let object = |value: &Value| value.as_object().cloned().map(Self).ok_or(Refusal::field(name));
        self.get(name).map(object).transpose()
    }
}

/// Builds a value while it counts levels and remembers the keys of each object.
#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    duplicate: &'a Cell<bool>,
}

impl Strict<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= JSON_DEPTH_MAX {
            return Err(E::custom("nested too deeply"));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = entries.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            if object.contains_key(&key) {
                self.duplicate.set(true);
                return Err(A::Error::custom("duplicate key"));
            }
            let value = members.next_value_seed(inner)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(), ErrorCode>) {
        assert_eq!(Fields::parse(text.as_bytes()).map(|_| ()), expected, "{}", text.get(..60).unwrap_or(text));
    }

    #[test]
    fn takes_objects_only() {
        check("{}", Ok(()));
        check(r#" {"a":[1,{"b":null}]} "#, Ok(()));
        for text in ["", " ", "null", "[]", "\"x\"", "42", "not json", "{}{}", "{\"a\":1e999}", "{\"a\":01}"] {
            check(text, Err(ErrorCode::BadJson));
        }
        assert_eq!(Fields::parse(b"{\"a\":\"\xff\xfe\"}"), Err(ErrorCode::BadJson));
    }

    #[test]
    fn refuses_a_key_named_twice_at_any_depth() {
        check(r#"{"a":1,"a":2}"#, Err(ErrorCode::DuplicateKey));
        check(r#"{"x":[{"a":1,"\u0061":2}]}"#, Err(ErrorCode::DuplicateKey));
        check(r#"{"x":{"a":1},"y":{"a":1}}"#, Ok(()));
    }

    /// Deep nesting overflowed the stack elsewhere: simd-lite/simd-json#481.
    #[test]
    fn refuses_deep_nesting() {
        let nested = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        check(&nested(16), Ok(()));
        check(&nested(17), Err(ErrorCode::BadJson));
        check(&nested(5_000), Err(ErrorCode::BadJson));
        check(&"[".repeat(20_000), Err(ErrorCode::BadJson));
    }

    /// Lone surrogates became U+0000 or U+FFFD elsewhere: serde-rs/json#495.
    #[test]
    fn refuses_lone_surrogates() {
        for escape in [r"\ud83d", r"\ude00", r"\ud83d\ud83d", r"x\ud83dy"] {
            check(&format!(r#"{{"content":"{escape}"}}"#), Err(ErrorCode::BadJson));
        }
        let fields = Fields::parse(br#"{"content":"\ud83d\ude00"}"#).unwrap();
        assert_eq!(fields.text("content"), Ok("😀"));
    }

    /// Where every number is floating point, a whole one is written so: Gson's maps, Dart, Lua.
    #[test]
    fn a_whole_number_is_one_however_it_is_written() {
        let check = |text: &str, expected: Result<u64, Refusal>| {
            let fields = Fields::parse(format!("{{\"seq\":{text}}}").as_bytes()).unwrap();
            assert_eq!(fields.optional_integer("seq"), expected.map(Some), "{text}");
        };
        for (text, number) in
            [("2", 2), ("2.0", 2), ("1e2", 100), ("-0", 0), ("0.0", 0), ("9007199254740991.0", INTEGER_MAX)]
        {
            check(text, Ok(number));
        }
        for odd in ["2.5", "-1.0", "9007199254740992.0", "1e300", "\"2\"", "-1", "1e-1"] {
            check(odd, Err(Refusal::field("seq")));
        }
    }

    #[test]
    fn names_the_field_that_is_wrong() {
        let fields =
            Fields::parse(br#"{"seq":9007199254740992,"limit":-1,"roomId":5,"ids":["a",3],"none":null}"#).unwrap();
        assert_eq!(fields.optional_integer("seq"), Err(Refusal::field("seq")));
        assert_eq!(fields.optional_integer("limit"), Err(Refusal::field("limit")));
        assert_eq!(fields.text("roomId"), Err(Refusal::field("roomId")));
        assert_eq!(fields.list::<String>("ids"), Err(Refusal::field("ids")));
        assert_eq!(fields.optional_text("none"), Ok(None));
        assert_eq!(fields.text("none"), Err(Refusal::field("none")));
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_agrees_with_serde_json(text in ".{0,200}") {
            if let Ok(fields) = Fields::parse(text.as_bytes()) {
                proptest::prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), Value::Object(fields.0));
            }
        }
    }
}

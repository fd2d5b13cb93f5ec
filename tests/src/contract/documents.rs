//! The published files, read once and closed: to a good client an unknown member is nothing, to these tests it is a
//! member that somebody forgot to write down.

use std::collections::BTreeSet;
use std::path::Path;

use jsonschema::{Registry, Validator};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

/// What a pointer inside a reference keeps as it is.
const POINTER: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'~');
const BASE: &str = "madang:///";

/// The files by their names.
pub(super) struct Documents {
    files: Map<String, Value>,
    registry: Registry<'static>,
}

/// An example and the schema that it must fit.
pub struct Example {
    /// Where it stands, for messages.
    pub place: String,
    /// The example.
    pub value: Value,
    pub(super) schema: String,
}

impl Documents {
    /// Reads the files.
    ///
    /// # Panics
    /// One of them cannot be read, or refers to something that is not there.
    pub(super) fn read() -> Self {
        let mut files = Map::new();
        for name in ["schemas.yaml", "openapi.yaml", "asyncapi.yaml"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra").join(name);
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
            let file = yaml_serde::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
            files.insert(name.to_owned(), file);
        }
        let mut parts = BTreeSet::new();
        for (name, file) in &files {
            find_parts(name, file, &mut parts);
        }
        for (name, file) in &mut files {
            close(file, &format!("{name}#"), &parts);
        }
        let registry = files
            .iter()
            .try_fold(Registry::new(), |registry, (name, file)| registry.add(format!("{BASE}{name}"), file.clone()));
        let registry = registry.and_then(jsonschema::RegistryBuilder::prepare).expect("the files refer to each other");
        Self { files, registry }
    }

    /// What stands at a place such as `openapi.yaml#/paths`, behind references within its file.
    pub(super) fn at(&self, place: &str) -> (String, &Value) {
        let (name, pointer) = place.split_once('#').expect("a place");
        let value = self.files.get(name).and_then(|file| file.pointer(pointer));
        let value = value.unwrap_or_else(|| panic!("there is nothing at {place}"));
        match value.get("$ref").and_then(Value::as_str) {
            Some(reference) if reference.starts_with('#') => self.at(&format!("{name}{reference}")),
            _ => (place.to_owned(), value),
        }
    }

    /// The members at a place, each with its own place.
    pub(super) fn members(&self, place: &str) -> Vec<(String, String)> {
        let (place, value) = self.at(place);
        let keys = value.as_object().into_iter().flat_map(Map::keys);
        keys.map(|key| (key.clone(), format!("{place}/{}", escape(key)))).collect()
    }

    /// The schema at a place, ready for use.
    ///
    /// # Panics
    /// It is no schema.
    pub(super) fn schema(&self, place: &str) -> Validator {
        let (name, pointer) = place.split_once('#').expect("a place");
        let reference = json!({"$ref": format!("{BASE}{name}#{}", utf8_percent_encode(pointer, POINTER))});
        let options = jsonschema::options().with_registry(&self.registry).should_validate_formats(true).offline();
        options.build(&reference).unwrap_or_else(|error| panic!("{place}: {error}"))
    }

    /// Every example of every file.
    pub(super) fn examples(&self) -> Vec<Example> {
        let mut examples = Vec::new();
        for (name, file) in &self.files {
            self.find_examples(file, &format!("{name}#"), &mut examples);
        }
        examples
    }

    fn find_examples(&self, node: &Value, place: &str, found: &mut Vec<Example>) {
        let mut add = |at: &str, value: &Value, schema: &str| {
            let schema = format!("{place}{schema}");
            found.push(Example { place: format!("{place}/{at}"), value: value.clone(), schema });
        };
        match (node.get("examples"), node.get("example")) {
            (Some(Value::Array(examples)), _) => {
                for (number, example) in examples.iter().enumerate() {
                    let at = format!("examples/{number}");
                    match example.get("payload") {
                        Some(payload) => add(&at, payload, "/payload"),
                        None => add(&at, example, ""),
                    }
                }
            }
            (Some(Value::Object(examples)), _) if node.get("schema").is_some() => {
                for name in examples.keys() {
                    let (_, example) = self.at(&format!("{place}/examples/{}", escape(name)));
                    add(&format!("examples/{name}"), &example["value"], "/schema");
                }
            }
            (_, Some(example)) => add("example", example, "/schema"),
            _ => {}
        }
        for (key, child) in children(node) {
            self.find_examples(child, &format!("{place}/{}", escape(&key)), found);
        }
    }
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn children(node: &Value) -> Vec<(String, &Value)> {
    match node {
        Value::Object(members) => members.iter().map(|(key, child)| (key.clone(), child)).collect(),
        Value::Array(entries) => entries.iter().enumerate().map(|(at, child)| (at.to_string(), child)).collect(),
        _ => Vec::new(),
    }
}

/// Finds the schemas that `allOf` puts together with others: only the whole can be closed.
fn find_parts(name: &str, node: &Value, parts: &mut BTreeSet<String>) {
    for part in node.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        if let Some(reference) = part.get("$ref").and_then(Value::as_str) {
            parts.insert(if reference.starts_with('#') { format!("{name}{reference}") } else { reference.to_owned() });
        }
    }
    for (_, child) in children(node) {
        find_parts(name, child, parts);
    }
}

/// Closes every object that the server writes; what clients write stays open, as the server ignores what it does not
/// know.
fn close(node: &mut Value, place: &str, parts: &BTreeSet<String>) {
    if place.contains("/messages/client.")
        || place.contains("/messages/stompClient.")
        || place.contains("/requestBody/")
        || parts.contains(place)
    {
        return;
    }
    match node {
        Value::Object(members) => {
            if members.contains_key("properties") || members.contains_key("allOf") {
                members.insert("unevaluatedProperties".to_owned(), Value::Bool(false));
            }
            for (key, child) in members {
                if key != "allOf" {
                    close(child, &format!("{place}/{}", escape(key)), parts);
                }
            }
        }
        Value::Array(entries) => {
            for (at, child) in entries.iter_mut().enumerate() {
                close(child, &format!("{place}/{at}"), parts);
            }
        }
        _ => {}
    }
}

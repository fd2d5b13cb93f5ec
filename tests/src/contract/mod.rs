//! The published contracts as a judge: every frame and every answer that a test hears must stand in
//! `infra/asyncapi.yaml` or `infra/openapi.yaml`, with nothing beside it that does not stand there, and every frame that
//! was answered well must be one that the file allows.

mod documents;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use jsonschema::Validator;
use serde_json::Value;

use crate::http::Answer;
use documents::Documents;

pub use documents::Example;

/// The files, each schema compiled once.
pub struct Contracts {
    documents: Documents,
    actions: BTreeMap<String, Action>,
    types: BTreeMap<String, Validator>,
    gateway_fault: Validator,
    stomp_heads: BTreeMap<String, Validator>,
    paths: Vec<PathItem>,
    bodies: BTreeMap<String, Validator>,
}

/// What a client may send.
struct Action {
    frame: Validator,
    answers: BTreeSet<String>,
}

/// A path of the HTTP API: its parts, and where the responses of its methods stand.
struct PathItem {
    parts: Vec<String>,
    methods: BTreeMap<String, String>,
}

/// The contracts.
///
/// # Panics
/// A file cannot be read.
pub fn contracts() -> &'static Contracts {
    static CONTRACTS: OnceLock<Contracts> = OnceLock::new();
    CONTRACTS.get_or_init(|| Contracts::new(Documents::read()))
}

impl Contracts {
    fn new(documents: Documents) -> Self {
        let mut types = BTreeMap::new();
        let mut frames = BTreeMap::new();
        for (key, place) in documents.members("asyncapi.yaml#/channels/json/messages") {
            let (place, _) = documents.at(&place);
            let schema = documents.schema(&format!("{place}/payload"));
            match key.split_once('.') {
                Some(("server", name)) => drop(types.insert(name.to_owned(), schema)),
                Some(("client", name)) => drop(frames.insert(name.to_owned(), schema)),
                _ => {}
            }
        }
        let mut answers = answers(&documents);
        let action = |(name, frame)| {
            let answers = answers.remove(&name).unwrap_or_else(|| panic!("asyncapi.yaml has no operation {name}"));
            (name, Action { frame, answers })
        };
        let actions = frames.into_iter().map(action).collect();
        let mut stomp_heads = BTreeMap::new();
        for (key, place) in documents.members("asyncapi.yaml#/channels/stomp/messages") {
            let (place, _) = documents.at(&place);
            let (_, command) = key.split_once('.').expect("who says it");
            stomp_heads.insert(command.to_owned(), documents.schema(&format!("{place}/headers")));
        }
        let gateway_fault = documents.schema("asyncapi.yaml#/components/messages/gateway.fault/payload");
        let paths: Vec<PathItem> =
            documents.members("openapi.yaml#/paths").iter().map(|path| path_item(&documents, path)).collect();
        let mut bodies = BTreeMap::new();
        for responses in paths.iter().flat_map(|path| path.methods.values()).map(String::as_str).chain([RESPONSES]) {
            for (_, response) in documents.members(responses) {
                let (response, _) = documents.at(&response);
                for (_, media_type) in contents(&documents, &response) {
                    let schema = documents.schema(&format!("{media_type}/schema"));
                    bodies.entry(media_type).or_insert(schema);
                }
            }
        }
        Self { documents, actions, types, gateway_fault, stomp_heads, paths, bodies }
    }

    /// Judges a frame that a client heard.
    ///
    /// # Panics
    /// Its type is not known, or it is not as its type says.
    pub fn judge_frame(&self, frame: &Value) {
        let schema = match frame.get("type").and_then(Value::as_str) {
            Some(name) => self.types.get(name).unwrap_or_else(|| panic!("asyncapi.yaml has no frame {name}: {frame}")),
            None => &self.gateway_fault,
        };
        judge(schema, frame, &format!("the frame {}", frame["type"]));
    }

    /// Judges the head of a STOMP frame that was sent well, or heard.
    ///
    /// # Panics
    /// Its command is not known, or its headers are not as the command says.
    pub fn judge_stomp(&self, command: &str, headers: &[(String, String)]) {
        let head = headers.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
        let schema = self.stomp_heads.get(command).unwrap_or_else(|| panic!("asyncapi.yaml has no {command}"));
        judge(schema, &Value::Object(head), &format!("the head of {command}"));
    }

    /// Judges a frame that a client sent, by its answer: what is answered well must be allowed, and answered so.
    ///
    /// # Panics
    /// It is not.
    pub fn judge_exchange(&self, frame: &Value, answer: &Value) {
        let kind = answer["type"].as_str().unwrap_or_default();
        let action = frame["action"].as_str().and_then(|name| self.actions.get(name));
        match action {
            Some(action) => {
                assert!(action.answers.contains(kind), "asyncapi.yaml has no such answer: {frame} with {answer}");
                if kind != "error" {
                    judge(&action.frame, frame, &format!("the accepted frame {}", frame["action"]));
                }
            }
            None => assert_eq!(kind, "error", "asyncapi.yaml has no such action: {frame}"),
        }
    }

    /// Judges an answer over HTTP.
    ///
    /// # Panics
    /// It is not one that its path and method have.
    pub fn judge_answer(&self, method: &str, path: &str, answer: &Answer) {
        let (call, status) = (&answer.call, answer.status);
        let response = match self.path_item(path) {
            None => {
                assert_eq!(status, 404, "{call}: openapi.yaml has no such path: {}", answer.text);
                format!("{RESPONSES}/NotFound")
            }
            Some(item) => match item.methods.get(&method.to_ascii_lowercase()) {
                None => {
                    assert_eq!(status, 405, "{call}: openapi.yaml has no such method: {}", answer.text);
                    format!("{RESPONSES}/MethodNotAllowed")
                }
                Some(responses) => format!("{responses}/{status}"),
            },
        };
        let (response, _) = self.documents.at(&response);
        let content_type = answer.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let content = contents(&self.documents, &response).into_iter().find(|(name, _)| name == content_type);
        let (_, content) =
            content.unwrap_or_else(|| panic!("{call}: {status} has no {content_type:?}: {}", answer.text));
        judge(&self.bodies[&content], &answer.json(), &format!("{call}: {status}"));
    }

    fn path_item(&self, path: &str) -> Option<&PathItem> {
        let path = path.split('?').next().unwrap_or_default();
        let parts: Vec<&str> = path.split('/').collect();
        let fits = |(wanted, part): (&String, &&str)| wanted.starts_with('{') || wanted == part;
        self.paths.iter().find(|item| item.parts.len() == parts.len() && item.parts.iter().zip(&parts).all(fits))
    }

    /// The example frames of every action.
    #[must_use]
    pub fn example_frames(&self) -> Vec<Value> {
        let of_client = |example: &Example| example.schema.contains("/client.");
        self.documents.examples().into_iter().filter(of_client).map(|example| example.value).collect()
    }

    /// Judges the examples of the files themselves; how many there are.
    ///
    /// # Panics
    /// One does not fit its schema.
    #[must_use]
    pub fn judge_examples(&self) -> usize {
        let examples = self.documents.examples();
        for Example { place, value, schema } in &examples {
            judge(&self.documents.schema(schema), value, place);
        }
        examples.len()
    }
}

const RESPONSES: &str = "openapi.yaml#/components/responses";

fn judge(schema: &Validator, value: &Value, what: &str) {
    let faults: Vec<String> =
        schema.iter_errors(value).map(|fault| format!("  at {:?}: {fault}", fault.instance_path().as_str())).collect();
    assert!(faults.is_empty(), "{what} is not as the contract says:\n{}\n  in {value}", faults.join("\n"));
}

/// The types of the answers of each action.
fn answers(documents: &Documents) -> BTreeMap<String, BTreeSet<String>> {
    let name =
        |message: &Value| message["$ref"].as_str().and_then(|place| place.split("/server.").nth(1)).map(str::to_owned);
    let operations = documents.members("asyncapi.yaml#/operations").into_iter();
    operations
        .map(|(operation, place)| {
            let messages = documents.at(&place).1["reply"]["messages"].as_array().into_iter().flatten();
            (operation, messages.filter_map(name).collect())
        })
        .collect()
}

fn path_item(documents: &Documents, (path, place): &(String, String)) -> PathItem {
    let parts = path.split('/').map(str::to_owned).collect();
    let methods = documents.members(place).into_iter().filter(|(name, _)| name != "parameters");
    PathItem { parts, methods: methods.map(|(method, place)| (method, format!("{place}/responses"))).collect() }
}

/// The content types of a response, each with its place.
fn contents(documents: &Documents, response: &str) -> Vec<(String, String)> {
    documents.members(&format!("{response}/content"))
}

//! A way to the tables on which the functions' calls meet what DynamoDB has and no embedded one does: conflicts of
//! transactions, throttling, batches that are done in part, faults of its own, answers that get lost, and callers who may
//! not call.
//!
//! Bodies are as the service sends them: those of cancelled transactions stand in aws/aws-sdk-net#1292 and
//! pynamodb/PynamoDB#1143, the others in the API's reference ("Error handling with DynamoDB").

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::Full;
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::passage::{self, Answer, Onward};

const SERVICE: &str = "com.amazonaws.dynamodb.v20120810";

/// What a call meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// Another transaction has an item of it under way.
    Conflict,
    /// The table has more to do than it is made for, one on demand.
    Throttled,
    /// The same of one with a provisioned throughput.
    Exceeded,
    /// A transaction with the same token is under way.
    InProgress,
    /// The access key is none that the service knows.
    Unknown,
    /// The caller's role does not let it.
    Denied,
    /// The service fails.
    Fault,
    /// The first half of a batch is left to be asked for again.
    HalfDone,
    /// It is done, and the connection ends before the answer.
    AnswerLost,
    /// It is done once something else is set.
    Held,
}

/// Which tries of a call meet it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The first ones of every call; tries are the same but for their token.
    First(usize),
    /// Each so-manieth of all calls.
    Every(usize),
    /// Every call that has this in it.
    With(&'static str),
}

/// An operation, what happens to it, and when.
pub type Rule = (&'static str, Trouble, When);

/// A way to the tables.
pub struct TroubledWay {
    address: SocketAddr,
    desk: Arc<Desk>,
    clerk: JoinHandle<()>,
}

struct Desk {
    server: String,
    onward: Onward,
    book: Mutex<Book>,
    /// Counts what was set, for whoever is held.
    settings: watch::Sender<u64>,
}

#[derive(Default)]
struct Book {
    rules: Vec<Rule>,
    tries: HashMap<(usize, Value), usize>,
    answered: HashMap<String, usize>,
    met: HashMap<(String, Trouble), usize>,
}

impl TroubledWay {
    /// A way to a server, by its URL; nothing is in it yet.
    ///
    /// # Panics
    /// There is no free port.
    pub async fn to(url: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (onward, book) = (Onward::default(), Mutex::default());
        let desk = Arc::new(Desk { server: url.to_owned(), onward, book, settings: watch::Sender::default() });
        let at_work = Arc::clone(&desk);
        let clerk = tokio::spawn(passage::serve(listener, move |parts, body| {
            let desk = Arc::clone(&at_work);
            async move { desk.answer(parts, body).await }
        }));
        Self { address, desk, clerk }
    }

    /// The URL of this end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What happens from now on, and nothing else.
    pub fn set(&self, rules: &[Rule]) {
        let mut book = self.desk.book();
        book.rules = rules.to_vec();
        book.tries.clear();
        drop(book);
        self.desk.settings.send_modify(|count| *count += 1);
    }

    /// How many of the functions' calls of an operation have had their answer so far.
    #[must_use]
    pub fn answered(&self, operation: &str) -> usize {
        self.desk.book().answered.get(operation).copied().unwrap_or_default()
    }

    /// How many calls of an operation have met this so far.
    #[must_use]
    pub fn met(&self, operation: &str, trouble: Trouble) -> usize {
        self.desk.book().met.get(&(operation.to_owned(), trouble)).copied().unwrap_or_default()
    }
}

impl Drop for TroubledWay {
    fn drop(&mut self) {
        self.clerk.abort();
    }
}

impl Desk {
    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, parts: Parts, body: Bytes) -> Option<Answer> {
        let target = parts.headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        // The runtime's own calls, and the tests', have no token of a function.
        if !parts.headers.contains_key("x-amz-security-token") {
            return self.onward.pass(&self.server, parts, body).await;
        }
        let call: Value = serde_json::from_slice(&body).ok()?;
        let mut settings = self.settings.subscribe();
        let met = self.book().meet(&operation, &call);
        let answer = match met {
            None => self.onward.pass(&self.server, parts, body).await,
            Some(Trouble::AnswerLost) => {
                self.onward.pass(&self.server, parts, body).await;
                None
            }
            Some(Trouble::Held) => {
                settings.changed().await.ok()?;
                self.onward.pass(&self.server, parts, body).await
            }
            Some(Trouble::HalfDone) => self.do_half(parts, call).await,
            Some(trouble) => Some(refusal(&operation, trouble, &call)),
        };
        *self.book().answered.entry(operation).or_default() += 1;
        answer
    }

    /// Does the second half of a batch.
    async fn do_half(&self, parts: Parts, mut call: Value) -> Option<Answer> {
        let name = if call.to_string().contains("\"Keys\"") { "UnprocessedKeys" } else { "UnprocessedItems" };
        let rest = halve(&mut call);
        let mut done = json!({"Responses": {}, "ConsumedCapacity": []});
        if call["RequestItems"].as_object().is_some_and(|tables| !tables.is_empty()) {
            let answer = self.onward.pass(&self.server, parts, call.to_string().into()).await?;
            done = serde_json::from_slice(&whole(answer).await?).ok()?;
        }
        done[name] = rest;
        Some(response(StatusCode::OK, &done))
    }
}

impl Book {
    /// What a call meets.
    fn meet(&mut self, operation: &str, call: &Value) -> Option<Trouble> {
        let mut same = call.clone();
        if let Some(fields) = same.as_object_mut() {
            fields.remove("ClientRequestToken");
        }
        let mut found = None;
        for (index, (of, trouble, when)) in self.rules.iter().enumerate() {
            if *of != operation {
                continue;
            }
            let key = if matches!(when, When::First(_)) { same.clone() } else { Value::Null };
            let tries = self.tries.entry((index, key)).or_default();
            *tries += 1;
            let is_due = match when {
                When::First(count) => *tries <= *count,
                When::Every(count) => tries.is_multiple_of(*count),
                When::With(text) => call.to_string().contains(text),
            };
            found = found.or(is_due.then_some(*trouble));
        }
        if let Some(trouble) = found {
            *self.met.entry((operation.to_owned(), trouble)).or_default() += 1;
        }
        found
    }
}

/// Takes the first half out of each table's part of a batch, the larger one; what was taken out.
fn halve(call: &mut Value) -> Value {
    let mut rest = Map::new();
    let Some(tables) = call["RequestItems"].as_object_mut() else { return Value::Null };
    for (table, part) in tables.iter_mut() {
        let mut left = part.clone();
        // A table's part is a list of writes, or has a list of keys.
        let list = |part: &mut Value| {
            let list = if part.is_array() { part } else { &mut part["Keys"] };
            list.as_array_mut().map(std::mem::take).unwrap_or_default()
        };
        let put = |part: &mut Value, list: Vec<Value>| {
            *(if part.is_array() { part } else { &mut part["Keys"] }) = Value::Array(list);
        };
        let mut first = list(part);
        let second = first.split_off(first.len().div_ceil(2));
        put(part, second);
        put(&mut left, first);
        rest.insert(table.clone(), left);
    }
    tables.retain(|_, part| {
        let list = if part.is_array() { &*part } else { &part["Keys"] };
        list.as_array().is_some_and(|list| !list.is_empty())
    });
    Value::Object(rest)
}

/// What DynamoDB says instead of doing it.
fn refusal(operation: &str, trouble: Trouble, call: &Value) -> Answer {
    let (status, kind, message) = match trouble {
        Trouble::Conflict => {
            (StatusCode::BAD_REQUEST, "TransactionConflictException", "Transaction is ongoing for the item")
        }
        Trouble::Throttled => (
            StatusCode::BAD_REQUEST,
            "ThrottlingException",
            "Throughput exceeds the current capacity of your table or index. DynamoDB is automatically scaling your \
             table or index so please try again shortly.",
        ),
        Trouble::Exceeded => (
            StatusCode::BAD_REQUEST,
            "ProvisionedThroughputExceededException",
            "The level of configured provisioned throughput for the table was exceeded. Consider increasing your \
             provisioning level with the UpdateTable API.",
        ),
        Trouble::InProgress => (
            StatusCode::BAD_REQUEST,
            "TransactionInProgressException",
            "The transaction with the given request token is already in progress.",
        ),
        Trouble::Unknown => (
            StatusCode::BAD_REQUEST,
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ),
        Trouble::Denied => (
            StatusCode::BAD_REQUEST,
            "AccessDeniedException",
            "User: arn:aws:sts::123456789012:assumed-role/madang/message is not authorized to perform this on resource: \
             arn:aws:dynamodb:eu-central-1:123456789012:table/chat because no identity-based policy allows it",
        ),
        Trouble::Fault | Trouble::HalfDone | Trouble::AnswerLost | Trouble::Held => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalServerError",
            "The request processing has failed because of an unknown error, exception or failure.",
        ),
    };
    let reason = match trouble {
        Trouble::Conflict => "TransactionConflict",
        Trouble::Throttled => "ThrottlingError",
        Trouble::Exceeded => "ProvisionedThroughputExceeded",
        Trouble::InProgress
        | Trouble::Unknown
        | Trouble::Denied
        | Trouble::Fault
        | Trouble::HalfDone
        | Trouble::AnswerLost
        | Trouble::Held => "",
    };
    if operation == "TransactWriteItems" && !reason.is_empty() {
        return response(status, &cancelled(call, reason, message));
    }
    let namespace = match kind {
        "ThrottlingException" => "com.amazon.coral.availability",
        "UnrecognizedClientException" | "AccessDeniedException" => "com.amazon.coral.service",
        _ => SERVICE,
    };
    response(status, &json!({"__type": format!("{namespace}#{kind}"), "message": message}))
}

/// A transaction that is cancelled because of its last item; where that is a conflict, the first one is throttled besides.
fn cancelled(call: &Value, reason: &str, message: &str) -> Value {
    let count = call["TransactItems"].as_array().map_or(1, Vec::len);
    let mut reasons = vec![json!({"Code": "None"}); count - 1];
    if let Some(first) = reasons.first_mut()
        && reason == "TransactionConflict"
    {
        *first = json!({"Code": "ThrottlingError", "Message": "Throughput exceeds the current capacity."});
    }
    reasons.push(json!({"Code": reason, "Message": message}));
    let codes: Vec<&str> = reasons.iter().filter_map(|reason| reason["Code"].as_str()).collect();
    json!({
        "__type": format!("{SERVICE}#TransactionCanceledException"),
        "CancellationReasons": reasons,
        "Message": format!(
            "Transaction cancelled, please refer cancellation reasons for specific reasons [{}]", codes.join(", ")
        ),
    })
}

fn response(status: StatusCode, body: &Value) -> Answer {
    let body = body.to_string();
    let response = Response::builder()
        .status(status)
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amzn-requestid", "4KBNVRGD25RG1KEO9UT4V3FQDJVV4KQNSO5AEMVJF66Q9ASUAAJG")
        .header("x-amz-crc32", crc32(body.as_bytes()).to_string());
    response.body(Full::new(body.into())).expect("a response")
}

async fn whole(answer: Answer) -> Option<Bytes> {
    use http_body_util::BodyExt as _;
    Some(answer.into_body().collect().await.ok()?.to_bytes())
}

/// The checksum that every answer of the service carries: CRC-32 as zip has it.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 })
    })
}

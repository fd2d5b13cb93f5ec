//! A way to a server of AWS's that writes down who calls what: the function by its session token, which the local runtime
//! makes of its name, and the operation by the request.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hyper::http::request::Parts;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::passage::{self, Answer, Onward};
use crate::permitted::Call;

/// A way to a server, and what went over it.
pub struct Ledger {
    address: SocketAddr,
    book: Arc<Book>,
    clerk: JoinHandle<()>,
}

struct Book {
    /// Known only once the server has started, which may need to know of this way before.
    server: Mutex<Option<String>>,
    onward: Onward,
    calls: Mutex<BTreeSet<Call>>,
}

impl Ledger {
    /// A way that leads nowhere yet.
    ///
    /// # Panics
    /// There is no free port.
    pub async fn open() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let book = Arc::new(Book { server: Mutex::default(), onward: Onward::default(), calls: Mutex::default() });
        let scribe = Arc::clone(&book);
        let clerk = tokio::spawn(passage::serve(listener, move |parts, body| {
            let book = Arc::clone(&scribe);
            async move { book.pass(parts, body).await }
        }));
        Self { address, book, clerk }
    }

    /// The URL of this end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Says where the way leads from now on.
    pub fn leads_to(&self, url: &str) {
        *self.book.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(url.to_owned());
    }

    /// Everything that was called so far.
    #[must_use]
    pub fn calls(&self) -> BTreeSet<Call> {
        self.book.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.clerk.abort();
    }
}

impl Book {
    async fn pass(&self, parts: Parts, body: Bytes) -> Option<Answer> {
        // The runtime's own calls have none.
        if let Some(function) = parts.headers.get("x-amz-security-token") {
            let function = function.to_str().ok()?;
            let calls = match parts.headers.get("x-amz-target") {
                Some(target) => calls_of_tables(target.to_str().ok()?, &serde_json::from_slice(&body).ok()?),
                None => vec![("@connections".to_owned(), parts.method.to_string())],
            };
            let call = |(on, what)| Call { function: function.to_owned(), on, what };
            self.calls.lock().unwrap_or_else(PoisonError::into_inner).extend(calls.into_iter().map(call));
        }
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        self.onward.pass(&server, parts, body).await
    }
}

/// The tables (or indexes) of a request, and what is done there; a transaction by its parts.
fn calls_of_tables(target: &str, body: &Value) -> Vec<(String, String)> {
    let operation = target.rsplit('.').next().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match operation {
        "TransactWriteItems" => {
            let items = body["TransactItems"].as_array().into_iter().flatten();
            let parts = items.flat_map(|item| item.as_object().into_iter().flatten());
            let operation =
                |name: &str| if name == "ConditionCheck" { "ConditionCheckItem".into() } else { format!("{name}Item") };
            parts.map(|(name, part)| (text(&part["TableName"]), operation(name))).collect()
        }
        "BatchGetItem" | "BatchWriteItem" => {
            let tables = body["RequestItems"].as_object().into_iter().flatten();
            tables.map(|(table, _)| (table.clone(), operation.to_owned())).collect()
        }
        _ => {
            let index = body["IndexName"].as_str().map(|index| format!("/index/{index}")).unwrap_or_default();
            vec![(text(&body["TableName"]) + &index, operation.to_owned())]
        }
    }
}

//! A way to a server of AWS's that writes down who calls what: the function by its session token, which the local runtime
//! makes of its name, and the operation by the request.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::HOST;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::permitted::Call;

/// A way to a server, and what went over it.
pub struct Ledger {
    address: SocketAddr,
    book: Arc<Book>,
    clerk: JoinHandle<()>,
}

struct Book {
    /// Known only once the server has started, which may need to know of this way before.
    server: OnceLock<String>,
    client: Client<HttpConnector, Full<Bytes>>,
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
        let client = Client::builder(TokioExecutor::new()).build_http();
        let book = Arc::new(Book { server: OnceLock::new(), client, calls: Mutex::default() });
        let clerk = tokio::spawn(serve(listener, Arc::clone(&book)));
        Self { address, book, clerk }
    }

    /// The URL of this end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Says where the way leads.
    ///
    /// # Panics
    /// It has been said before.
    pub fn leads_to(&self, url: &str) {
        self.book.server.set(url.to_owned()).expect("said once");
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

async fn serve(listener: TcpListener, book: Arc<Book>) {
    while let Ok((stream, _)) = listener.accept().await {
        let book = Arc::clone(&book);
        let pass = service_fn(move |request| {
            let book = Arc::clone(&book);
            async move { Ok::<_, hyper::Error>(book.pass(request).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), pass);
        // A client that goes away in the middle is nobody's fault here.
        tokio::spawn(async move { drop(connection.await) });
    }
}

impl Book {
    async fn pass(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match self.try_to_pass(request).await {
            Some(response) => response,
            None => {
                let mut response = Response::new(Full::default());
                *response.status_mut() = StatusCode::BAD_GATEWAY;
                response
            }
        }
    }

    async fn try_to_pass(&self, request: Request<Incoming>) -> Option<Response<Full<Bytes>>> {
        let (mut parts, body) = request.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
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
        let path = parts.uri.path_and_query()?.as_str();
        parts.uri = format!("{}{path}", self.server.get()?.trim_end_matches('/')).parse::<Uri>().ok()?;
        parts.headers.remove(HOST);
        let response = self.client.request(Request::from_parts(parts, Full::new(body))).await.ok()?;
        let (parts, body) = response.into_parts();
        Some(Response::from_parts(parts, Full::new(body.collect().await.ok()?.to_bytes())))
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

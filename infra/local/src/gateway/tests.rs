//! The gateway over real sockets, in front of functions that this test serves at an invoke URL.
//!
//! `message` does what the frame says: `{"do": …}`. Everything that reaches a function is kept, to be looked at.

use std::sync::Mutex;

use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Response, header::HeaderMap};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
    time::{Instant, sleep},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        Error, Message, Utf8Bytes,
        client::IntoClientRequest as _,
        protocol::{
            CloseFrame,
            frame::{
                Frame,
                coding::{Data, OpCode},
            },
        },
    },
};

use super::*;
use crate::token::Signer;

const PATIENCE: Duration = Duration::from_secs(20);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

struct Harness {
    gateway: Arc<Gateway>,
    port: u16,
    /// Every event: the function's name and what it got.
    events: Arc<Mutex<Vec<(String, Value)>>>,
    /// What `{"do":"wait"}` and a connect with `?wait` wait for.
    go: Arc<Semaphore>,
    http: Client<HttpConnector, Full<Bytes>>,
}

async fn harness(settings: Settings) -> Harness {
    let (events, go) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Semaphore::new(0)));
    let functions = Functions::remote(&serve_functions(Arc::clone(&events), Arc::clone(&go)).await).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let faults = Arc::new(Faults::default());
    let dev = Dev::new(Signer::new(), Arc::clone(&faults), Default::default(), None);
    let gateway = Gateway::start(listener, port, functions, (dev, faults), settings);
    Harness { gateway, port, events, go, http: Client::builder(TokioExecutor::new()).build_http() }
}

async fn start() -> Harness {
    harness(Settings { idle_limit: Duration::from_secs(600), connection_limit: Duration::from_secs(7200) }).await
}

async fn serve_functions(events: Arc<Mutex<Vec<(String, Value)>>>, go: Arc<Semaphore>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (events, go) = (Arc::clone(&events), Arc::clone(&go));
            let service = service_fn(move |request: Request<Incoming>| {
                let (events, go) = (Arc::clone(&events), Arc::clone(&go));
                async move {
                    let name = request.uri().path().split('/').nth(3).unwrap().to_owned();
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let event: Value = serde_json::from_slice(&body).unwrap();
                    events.lock().unwrap().push((name.clone(), event.clone()));
                    let answer = function(&name, &event, &go).await;
                    Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(answer.to_string())))
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    url
}

async fn function(name: &str, event: &Value, go: &Semaphore) -> Value {
    let failure = json!({ "errorType": "Broken", "errorMessage": "on purpose" });
    match name {
        "connect" => {
            let parameters = &event["queryStringParameters"];
            if parameters["wait"].is_string() {
                go.acquire().await.unwrap().forget();
            }
            match parameters["answer"].as_str() {
                None => json!({ "statusCode": 200, "headers": { "Sec-WebSocket-Protocol": parameters["protocol"] } }),
                Some("fail") => failure,
                Some("odd") => json!({ "no": "status" }),
                Some(status) => json!({ "statusCode": status.parse::<u16>().unwrap(), "body": "{\"code\":\"why\"}" }),
            }
        }
        "message" => {
            let body = event["body"].as_str().unwrap();
            let frame: Value = serde_json::from_str(body).unwrap_or_default();
            match frame["do"].as_str() {
                Some("fail") => failure,
                Some("wait") => {
                    go.acquire().await.unwrap().forget();
                    json!({ "statusCode": 200, "body": "waited" })
                }
                Some("nothing") => json!({ "statusCode": 200 }),
                Some("teapot") => json!({ "statusCode": 418, "body": "tea" }),
                Some("id") => json!({ "statusCode": 200, "body": event["requestContext"]["connectionId"] }),
                _ => json!({ "statusCode": 200, "body": format!("{} bytes", body.len()) }),
            }
        }
        "api" => match event["rawPath"].as_str() {
            Some("/fail") => failure,
            Some("/echo") => {
                json!({ "statusCode": 201, "headers": { "x-a": "1" }, "body": event["body"], "isBase64Encoded": event["isBase64Encoded"] })
            }
            _ => json!({ "path": event["rawPath"] }),
        },
        _ => json!({ "statusCode": 200 }),
    }
}

impl Harness {
    async fn connect(&self, query: &str) -> Result<Socket, Error> {
        let url = format!("ws://127.0.0.1:{}/local{query}", self.port);
        tokio::time::timeout(PATIENCE, connect_async(url)).await.unwrap().map(|(socket, _)| socket)
    }

    async fn open(&self) -> (Socket, String) {
        let mut socket = self.connect("").await.unwrap();
        say(&mut socket, r#"{"do":"id"}"#).await;
        let id = text(&mut socket).await;
        (socket, id)
    }

    async fn call(&self, method: Method, path: &str, body: impl Into<Bytes>) -> (StatusCode, HeaderMap, Bytes) {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let request = Request::builder().method(method).uri(url).body(Full::new(body.into())).unwrap();
        let response = tokio::time::timeout(PATIENCE, self.http.request(request)).await.unwrap().unwrap();
        let (head, body) = response.into_parts();
        (head.status, head.headers, body.collect().await.unwrap().to_bytes())
    }

    async fn post(&self, id: &str, body: impl Into<Bytes>) -> (StatusCode, HeaderMap, Bytes) {
        self.call(Method::POST, &connection_path(id), body).await
    }

    async fn events_of(&self, name: &str, count: usize) -> Vec<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let events: Vec<Value> = {
                let events = self.events.lock().unwrap();
                events.iter().filter(|(function, _)| function == name).map(|(_, event)| event.clone()).collect()
            };
            if events.len() >= count {
                return events;
            }
            assert!(Instant::now() < deadline, "{} of {count} events for {name}", events.len());
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn check_disconnect(&self, status_code: u16, reason: &str) {
        let event = self.events_of("disconnect", 1).await.remove(0);
        let context = &event["requestContext"];
        assert_eq!(
            (&context["disconnectStatusCode"], &context["disconnectReason"]),
            (&status_code.into(), &reason.into())
        );
    }
}

fn connection_path(id: &str) -> String {
    format!("/local/@connections/{}", id.replace('=', "%3D"))
}

async fn say(socket: &mut Socket, text: &str) {
    socket.send(Message::text(text)).await.unwrap();
}

async fn frame(socket: &mut Socket) -> Message {
    tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap()
}

async fn text(socket: &mut Socket) -> String {
    match frame(socket).await {
        Message::Text(text) => text.to_string(),
        other => panic!("{other:?}"),
    }
}

async fn closed(socket: &mut Socket) -> (u16, String) {
    loop {
        match frame(socket).await {
            Message::Close(Some(frame)) => return (frame.code.into(), frame.reason.to_string()),
            Message::Text(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn refused(result: Result<Socket, Error>) -> (u16, Vec<u8>) {
    match result {
        Err(Error::Http(response)) => (response.status().as_u16(), response.body().clone().unwrap_or_default()),
        other => panic!("{:?}", other.err()),
    }
}

#[tokio::test]
async fn a_refusal_passes_through_with_its_status_and_body() {
    let harness = start().await;
    for status in [301, 400, 401, 403, 429, 501] {
        let (got, body) = refused(harness.connect(&format!("?answer={status}")).await);
        assert_eq!((got, body.as_slice()), (status, br#"{"code":"why"}"#.as_slice()));
    }
    for answer in ["fail", "odd"] {
        let (got, body) = refused(harness.connect(&format!("?answer={answer}")).await);
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((got, &body["message"]), (502, &"Internal server error".into()));
    }
    assert_eq!(harness.events_of("connect", 8).await.len(), 8);
    assert!(harness.events_of("disconnect", 0).await.is_empty());
}

#[tokio::test]
async fn the_upgrade_is_held_and_posts_meanwhile_are_gone() {
    let harness = start().await;
    let connecting = harness.connect("?wait=1");
    tokio::pin!(connecting);
    let event = tokio::select! {
        _ = &mut connecting => panic!("open before $connect returned"),
        mut events = harness.events_of("connect", 1) => events.remove(0),
    };
    let id = event["requestContext"]["connectionId"].as_str().unwrap().to_owned();
    assert_eq!(harness.post(&id, "early").await.0, StatusCode::GONE);
    harness.go.add_permits(1);
    let mut socket = connecting.await.unwrap();
    assert_eq!(harness.post(&id, "later").await.0, StatusCode::OK);
    assert_eq!(text(&mut socket).await, "later");
}

#[tokio::test]
async fn a_client_that_leaves_during_connect_is_reported_as_disconnected() {
    let harness = start().await;
    tokio::select! {
        _ = harness.connect("?wait=1") => panic!("open before $connect returned"),
        _ = harness.events_of("connect", 1) => {}
    }
    harness.go.add_permits(1);
    harness.check_disconnect(1006, "Connection closed abnormally").await;
}

/// Source: dherault/serverless-offline#1176.
#[tokio::test]
async fn only_a_returned_subprotocol_is_echoed() {
    let harness = start().await;
    let mut request = format!("ws://127.0.0.1:{}/local?protocol=b", harness.port).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "a, b".parse().unwrap());
    let (_socket, response) = connect_async(request).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "b");
    let (_socket, response) = connect_async(format!("ws://127.0.0.1:{}/local", harness.port)).await.unwrap();
    assert!(!response.headers().contains_key("sec-websocket-protocol"));
    let event = harness.events_of("connect", 1).await.remove(0);
    assert_eq!(event["headers"]["Sec-WebSocket-Protocol"], "a, b");
}

#[tokio::test]
async fn answers_are_route_responses_and_failures_are_service_frames() {
    let harness = start().await;
    let (mut socket, id) = harness.open().await;
    for (frame, sent) in [("fail", 2), ("teapot", 3)] {
        say(&mut socket, &json!({ "do": frame }).to_string()).await;
        let events = harness.events_of("message", sent).await;
        let request_id = events[sent - 1]["requestContext"]["requestId"].as_str().unwrap();
        let expected =
            format!(r#"{{"message": "Internal server error", "connectionId":"{id}", "requestId":"{request_id}"}}"#);
        assert_eq!(text(&mut socket).await, expected);
    }
    say(&mut socket, r#"{"do":"nothing"}"#).await;
    harness.events_of("message", 4).await;
    say(&mut socket, "").await;
    assert_eq!(text(&mut socket).await, "0 bytes");
    let last = harness.events_of("message", 5).await.remove(4);
    assert_eq!(last["body"], "");
    assert!(last.get("headers").is_none());
}

#[tokio::test]
async fn frames_of_one_connection_are_invoked_concurrently() {
    let harness = start().await;
    let (mut socket, _) = harness.open().await;
    say(&mut socket, r#"{"do":"wait"}"#).await;
    say(&mut socket, "quick").await;
    assert_eq!(text(&mut socket).await, "5 bytes");
    harness.go.add_permits(1);
    assert_eq!(text(&mut socket).await, "waited");
}

#[tokio::test]
async fn pings_are_answered() {
    let harness = start().await;
    let (mut socket, _) = harness.open().await;
    socket.send(Message::Ping("are you there".into())).await.unwrap();
    assert_eq!(frame(&mut socket).await, Message::Pong("are you there".into()));
}

/// Source: the quotas page of WebSocket APIs; floci-io/floci#938.
#[tokio::test]
async fn sizes_at_the_limit_pass_and_one_byte_more_closes_with_1009() {
    let harness = start().await;
    let (mut socket, _) = harness.open().await;
    say(&mut socket, &"x".repeat(32_768)).await;
    assert_eq!(text(&mut socket).await, "32768 bytes");
    let part =
        |length: usize, opcode, last| Message::Frame(Frame::message("x".repeat(length), OpCode::Data(opcode), last));
    for (opcode, last) in
        [(Data::Text, false), (Data::Continue, false), (Data::Continue, false), (Data::Continue, true)]
    {
        socket.send(part(32_768, opcode, last)).await.unwrap();
    }
    assert_eq!(text(&mut socket).await, "131072 bytes");
    for (opcode, last) in
        [(Data::Text, false), (Data::Continue, false), (Data::Continue, false), (Data::Continue, false)]
    {
        socket.send(part(32_768, opcode, last)).await.unwrap();
    }
    socket.send(part(1, Data::Continue, true)).await.unwrap();
    assert_eq!(closed(&mut socket).await.0, 1009);
    let (mut socket, _) = harness.open().await;
    say(&mut socket, &"x".repeat(32_769)).await;
    assert_eq!(closed(&mut socket).await.0, 1009);
    harness.check_disconnect(1009, "Message too long").await;
}

/// Source: architect/architect#1093 and deepstreamIO/deepstream.io#538.
#[tokio::test]
async fn bad_frames_close_their_own_socket_only() {
    let harness = start().await;
    let (mut neighbour, _) = harness.open().await;
    let (mut socket, _) = harness.open().await;
    socket.send(Message::binary(vec![0, 255])).await.unwrap();
    assert_eq!(closed(&mut socket).await.0, 1003);
    let (mut socket, _) = harness.open().await;
    let invalid = Frame::message(vec![0xff, 0xfe], OpCode::Data(Data::Text), true);
    socket.send(Message::Frame(invalid)).await.unwrap();
    assert_eq!(closed(&mut socket).await.0, 1007);
    let (mut socket, _) = harness.open().await;
    let lonely = Frame::message("x", OpCode::Data(Data::Continue), true);
    socket.send(Message::Frame(lonely)).await.unwrap();
    assert_eq!(closed(&mut socket).await.0, 1002);
    say(&mut neighbour, "fine").await;
    assert_eq!(text(&mut neighbour).await, "4 bytes");
    assert_eq!(harness.events_of("disconnect", 3).await.len(), 3);
}

#[tokio::test]
async fn the_close_of_a_client_is_reported_as_it_was() {
    for (close, status_code, reason) in [
        (None, 1005, "Client-side close frame status not set"),
        (Some(CloseFrame { code: 4001.into(), reason: "enough".into() }), 4001, "enough"),
    ] {
        let harness = start().await;
        let (mut socket, id) = harness.open().await;
        socket.close(close).await.unwrap();
        harness.check_disconnect(status_code, reason).await;
        assert_eq!(harness.post(&id, "x").await.0, StatusCode::GONE);
    }
}

#[tokio::test]
async fn an_abrupt_end_is_reported() {
    let harness = start().await;
    let (socket, _) = harness.open().await;
    drop(socket);
    harness.check_disconnect(1006, "Connection closed abnormally").await;
}

#[tokio::test]
async fn a_quiet_connection_is_closed_and_data_keeps_it() {
    let idle_limit = Duration::from_secs(6);
    let harness = harness(Settings { idle_limit, connection_limit: Duration::from_secs(7200) }).await;
    let (mut socket, _) = harness.open().await;
    let opened = Instant::now();
    while opened.elapsed() < idle_limit * 2 {
        say(&mut socket, "x").await;
        assert_eq!(text(&mut socket).await, "1 bytes");
    }
    assert_eq!(closed(&mut socket).await, (1001, "Going away".into()));
    harness.check_disconnect(1001, "Going away").await;
}

#[tokio::test]
async fn an_old_connection_is_closed() {
    let connection_limit = Duration::from_millis(300);
    let harness = harness(Settings { idle_limit: Duration::from_secs(600), connection_limit }).await;
    let mut socket = harness.connect("").await.unwrap();
    assert_eq!(closed(&mut socket).await.0, 1001);
}

#[tokio::test]
async fn a_connection_is_described_posted_to_and_deleted() {
    let harness = start().await;
    let (mut socket, id) = harness.open().await;
    let (status, _, body) = harness.call(Method::GET, &connection_path(&id), "").await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["identity"]["sourceIp"]), (StatusCode::OK, &"127.0.0.1".into()));
    for time in [&body["connectedAt"], &body["lastActiveAt"]] {
        assert_eq!(time.as_str().map(str::len), Some("2024-02-19T07:11:42.789Z".len()), "{time}");
    }
    let encoded = connection_path(&id).replace('@', "%40");
    assert_eq!(harness.call(Method::POST, &encoded, "안녕 👋").await.0, StatusCode::OK);
    assert_eq!(text(&mut socket).await, "안녕 👋");
    assert_eq!(harness.post(&id, vec![b'x'; 131_072]).await.0, StatusCode::OK);
    assert_eq!(text(&mut socket).await.len(), 131_072);
    assert_eq!(harness.post(&id, "bye").await.0, StatusCode::OK);
    assert_eq!(harness.call(Method::DELETE, &connection_path(&id), "").await.0, StatusCode::NO_CONTENT);
    assert_eq!(text(&mut socket).await, "bye");
    assert_eq!(closed(&mut socket).await, (1000, String::new()));
    harness.check_disconnect(1000, "").await;
    for method in [Method::POST, Method::GET, Method::DELETE] {
        let (status, headers, _) = harness.call(method, &connection_path(&id), "").await;
        assert_eq!((status, &headers["x-amzn-errortype"]), (StatusCode::GONE, &"GoneException".parse().unwrap()));
    }
}

#[tokio::test]
async fn the_management_api_refuses_with_the_names_of_its_errors() {
    let harness = start().await;
    let (_socket, id) = harness.open().await;
    let check = |(status, headers, body): (StatusCode, HeaderMap, Bytes), code: u16, name: &str| {
        assert_eq!((status.as_u16(), headers["x-amzn-errortype"].to_str().unwrap()), (code, name));
        assert!(serde_json::from_slice::<Value>(&body).unwrap()["message"].is_string());
    };
    check(harness.post("nobody=", "x").await, 410, "GoneException");
    check(harness.post(&id, vec![b'x'; 131_073]).await, 413, "PayloadTooLargeException");
    let other_stage = connection_path(&id).replace("/local/", "/prod/");
    check(harness.call(Method::POST, &other_stage, "x").await, 403, "ForbiddenException");
    harness.gateway.faults.set(serde_json::from_str(r#"{"posts":"throttle"}"#).unwrap());
    check(harness.post(&id, "x").await, 429, "LimitExceededException");
    harness.gateway.faults.set(serde_json::from_str(r#"{"posts":"gone"}"#).unwrap());
    check(harness.post(&id, "x").await, 410, "GoneException");
    harness.gateway.faults.set(serde_json::from_str(r#"{"posts":"fail"}"#).unwrap());
    assert_eq!(harness.post(&id, "x").await.0, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn a_slow_reader_is_throttled_and_delays_nobody() {
    let harness = start().await;
    let (slow, slow_id) = harness.open().await;
    let (mut quick, quick_id) = harness.open().await;
    let frame = Bytes::from(vec![b'x'; 131_072]);
    let mut queued = 0;
    loop {
        match harness.post(&slow_id, frame.clone()).await {
            (StatusCode::OK, ..) => queued += 1,
            (StatusCode::TOO_MANY_REQUESTS, headers, _) => {
                assert_eq!(headers["x-amzn-errortype"], "LimitExceededException");
                break;
            }
            other => panic!("{other:?}"),
        }
        assert!(queued < 1000, "no bound");
    }
    assert_eq!(harness.post(&quick_id, "quick").await.0, StatusCode::OK);
    assert_eq!(text(&mut quick).await, "quick");
    // It can be deleted although its close frame cannot leave.
    assert_eq!(harness.call(Method::DELETE, &connection_path(&slow_id), "").await.0, StatusCode::NO_CONTENT);
    harness.check_disconnect(1000, "").await;
    drop(slow);
}

#[tokio::test]
async fn what_is_queued_keeps_its_order() {
    let harness = start().await;
    let (mut socket, id) = harness.open().await;
    for number in 0..200 {
        assert_eq!(harness.post(&id, number.to_string()).await.0, StatusCode::OK);
    }
    for number in 0..200 {
        assert_eq!(text(&mut socket).await, number.to_string());
    }
}

#[tokio::test]
async fn http_requests_reach_the_api_function() {
    let harness = start().await;
    let (status, headers, body) = harness.call(Method::GET, "/rooms/a%2Fb?x=1", "").await;
    assert_eq!((status, body.as_ref()), (StatusCode::OK, br#"{"path":"/rooms/a%2Fb"}"#.as_slice()));
    assert_eq!(headers["content-type"], "application/json");
    let (status, headers, body) = harness.call(Method::POST, "/echo", vec![0xff, 0x00]).await;
    assert_eq!((status, &headers["x-a"], body.as_ref()), (StatusCode::CREATED, &"1".parse().unwrap(), &[0xff, 0][..]));
    let (status, _, body) = harness.call(Method::GET, "/fail", "").await;
    assert_eq!(
        (status, body.as_ref()),
        (StatusCode::INTERNAL_SERVER_ERROR, br#"{"message":"Internal Server Error"}"#.as_slice())
    );
    let (status, ..) = harness.call(Method::POST, "/echo", vec![b'x'; 10 * 1024 * 1024 + 1]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(harness.call(Method::GET, "/local", "").await.0, StatusCode::UPGRADE_REQUIRED);
}

#[tokio::test]
async fn functions_that_cannot_be_reached_are_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let faults = Arc::new(Faults::default());
    let dev = Dev::new(Signer::new(), Arc::clone(&faults), Default::default(), None);
    let settings = Settings { idle_limit: PATIENCE, connection_limit: PATIENCE };
    // Bound and never listening: nobody answers there.
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = Functions::remote(&format!("http://{}", closed.local_addr().unwrap())).unwrap();
    Gateway::start(listener, port, nobody, (dev, faults), settings);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(b"GET /rooms HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.ends_with(r#"{"message":"Service Unavailable"}"#), "{answer}");
}

#[tokio::test]
async fn the_page_and_tokens_are_for_this_machine() {
    let harness = start().await;
    let (status, headers, body) = harness.call(Method::GET, "/", "").await;
    assert_eq!((status, &headers["content-type"]), (StatusCode::OK, &"text/html; charset=utf-8".parse().unwrap()));
    assert!(!body.is_empty());
    let (status, _, body) = harness.call(Method::GET, "/dev/token?sub=alice&expiresIn=60", "").await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, body["token"].as_str().map(|token| token.split('.').count())), (StatusCode::OK, Some(3)));
    for path in ["/dev/token", "/dev/token?sub=", "/dev/token?sub=a&expiresIn=soon"] {
        assert_eq!(harness.call(Method::GET, path, "").await.0, StatusCode::BAD_REQUEST, "{path}");
    }
    assert_eq!(harness.call(Method::GET, "/dev/functions", "").await.2.as_ref(), br#"{"functions":[]}"#);
    assert_eq!(harness.call(Method::PUT, "/dev/faults", r#"{"posts":"odd"}"#).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(harness.call(Method::PUT, "/dev/faults", "{}").await.0, StatusCode::NO_CONTENT);
    assert_eq!(harness.call(Method::POST, "/dev/rewind", "").await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(harness.call(Method::DELETE, "/dev/faults", "").await.0, StatusCode::METHOD_NOT_ALLOWED);
    let mut stream = TcpStream::connect(("127.0.0.1", harness.port)).await.unwrap();
    stream
        .write_all(b"GET /dev/token?sub=a HTTP/1.1\r\nHost: rebound.example\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[tokio::test]
async fn a_lost_disconnect_is_not_invoked() {
    let harness = start().await;
    harness.gateway.faults.set(serde_json::from_str(r#"{"dropDisconnect":true}"#).unwrap());
    let (mut socket, id) = harness.open().await;
    socket.close(None).await.unwrap();
    while frame(&mut socket).await != Message::Close(None) {}
    let deadline = Instant::now() + PATIENCE;
    while harness.post(&id, "x").await.0 != StatusCode::GONE {
        assert!(Instant::now() < deadline);
    }
    harness.gateway.drain().await;
    assert!(harness.events_of("disconnect", 0).await.is_empty());
}

#[tokio::test]
async fn a_drain_waits_for_answers_and_then_closes_with_1001() {
    let harness = start().await;
    let (mut socket, id) = harness.open().await;
    say(&mut socket, r#"{"do":"wait"}"#).await;
    harness.events_of("message", 2).await;
    let gateway = Arc::clone(&harness.gateway);
    let drain = tokio::spawn(async move { gateway.drain().await });
    let deadline = Instant::now() + PATIENCE;
    while harness.call(Method::GET, "/rooms", "").await.0 != StatusCode::SERVICE_UNAVAILABLE {
        assert!(Instant::now() < deadline);
    }
    assert_eq!(refused(harness.connect("").await).0, 503);
    assert!(!drain.is_finished());
    assert_eq!(harness.post(&id, "still delivered").await.0, StatusCode::OK);
    assert_eq!(text(&mut socket).await, "still delivered");
    harness.go.add_permits(1);
    assert_eq!(text(&mut socket).await, "waited");
    assert_eq!(closed(&mut socket).await, (1001, "Going away".into()));
    tokio::time::timeout(PATIENCE, drain).await.unwrap().unwrap();
    harness.check_disconnect(1001, "Going away").await;
}

#[tokio::test]
async fn an_upgrade_elsewhere_is_forbidden() {
    let harness = start().await;
    let url = format!("ws://127.0.0.1:{}/other", harness.port);
    assert_eq!(refused(connect_async(url).await.map(|(socket, _)| socket)).0, 403);
    let slashed: Utf8Bytes = format!("ws://127.0.0.1:{}/local/", harness.port).into();
    assert!(connect_async(slashed.as_str()).await.is_ok());
}

//! Pools against the real `lambda_runtime`: the function is this test binary, started again to run one test alone.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// The function: does what its event says. Without a Runtime API this is an empty test.
#[tokio::test]
async fn function_process() {
    if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_none() {
        return;
    }
    if let Ok(marker) = std::env::var("DIE_AT_START_UNTIL_EXISTS")
        && !std::path::Path::new(&marker).exists()
    {
        std::process::exit(7);
    }
    lambda_runtime::spawn_graceful_shutdown_handler(|| async {}).await;
    lambda_runtime::run_concurrent(lambda_runtime::service_fn(handle)).await.unwrap();
}

async fn handle(event: lambda_runtime::LambdaEvent<Value>) -> Result<Value, lambda_runtime::Error> {
    match event.payload["do"].as_str() {
        Some("fail") => Err("it failed".into()),
        Some("die") => std::process::exit(3),
        Some("sleep") => std::future::pending().await,
        Some("wait_for") => {
            while !std::path::Path::new(event.payload["path"].as_str().unwrap()).exists() {
                sleep(Duration::from_millis(5)).await;
            }
            Ok(json!({ "pid": std::process::id() }))
        }
        _ => Ok(json!({
            "pid": std::process::id(),
            "echo": event.payload,
            "arn": event.context.invoked_function_arn,
            "trace": event.context.xray_trace_id,
            "runtime_api": std::env::var("AWS_LAMBDA_RUNTIME_API").unwrap(),
            "rest_ms": event.context.deadline().duration_since(SystemTime::now()).unwrap().as_millis() as u64,
            "variables": std::env::vars().map(|(name, _)| name).collect::<Vec<_>>(),
        })),
    }
}

fn spec() -> FunctionSpec {
    let variables = [
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
        ("AWS_LAMBDA_LOG_LEVEL", "WARN"),
    ];
    FunctionSpec {
        name: "echo".into(),
        program: std::env::current_exe().unwrap(),
        arguments: ["lambda::tests::function_process", "--exact", "--nocapture"].map(Into::into).into(),
        variables: Arc::new(variables.map(|(name, value)| (name.into(), value.into())).into()),
        init_limit: PATIENCE,
        timeout: Duration::from_secs(30),
        maximum_count: 2,
        concurrency: 1,
        freeze: false,
        counts: Counts::default(),
        shows_counts: false,
    }
}

async fn start(spec: FunctionSpec) -> Functions {
    Functions::start(vec![spec], None).await.unwrap()
}

async fn invoke(functions: &Functions, event: Value) -> Result<Value, InvokeError> {
    let answer = timeout(PATIENCE, functions.invoke("echo", Bytes::from(event.to_string()))).await.unwrap();
    answer.map(|answer| serde_json::from_slice(&answer).unwrap())
}

async fn until(mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < deadline, "not reached in time");
        sleep(Duration::from_millis(5)).await;
    }
}

fn process_state(pid: u32) -> Option<char> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    status.rsplit_once(") ")?.1.chars().next()
}

#[tokio::test]
async fn an_event_is_answered_with_a_real_deadline_in_a_clean_environment() {
    let functions = start(spec()).await;
    let answer = invoke(&functions, json!({ "a": "안녕" })).await.unwrap();
    assert_eq!(answer["echo"], json!({ "a": "안녕" }));
    assert_eq!(answer["arn"], "arn:aws:lambda:us-east-1:000000000000:function:echo");
    assert!(answer["trace"].as_str().unwrap().starts_with("Root=1-"));
    assert!((25_000..=30_000).contains(&answer["rest_ms"].as_u64().unwrap()), "{answer}");
    let variables: BTreeSet<&str> = answer["variables"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .filter(|name| !name.starts_with("_X_"))
        .collect();
    let expected = [
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_LOG_LEVEL",
        "AWS_LAMBDA_RUNTIME_API",
    ];
    assert_eq!(variables, BTreeSet::from(expected));
    assert!(matches!(functions.invoke("nobody", Bytes::new()).await, Err(InvokeError::Unavailable)));
    functions.stop().await;
    assert!(functions.running().is_empty());
    assert!(matches!(functions.invoke("echo", Bytes::new()).await, Err(InvokeError::Unavailable)));
}

/// Asks a Runtime API as whoever sends these headers; the status.
async fn ask(runtime_api: &str, (method, path): (&str, &str), headers: &str) -> u16 {
    let mut stream = TcpStream::connect(runtime_api).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nContent-Length: 0\r\nConnection: close\r\n{headers}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn no_page_takes_part_in_a_runtime_api() {
    let functions = start(spec()).await;
    let runtime_api = invoke(&functions, json!({})).await.unwrap()["runtime_api"].as_str().unwrap().to_owned();
    let own = format!("Host: {runtime_api}");
    let answer = ("POST", "/2018-06-01/runtime/invocation/nobody/response");
    assert_eq!(ask(&runtime_api, answer, &own).await, 400, "there is no such invocation");
    for headers in [
        format!("{own}\r\nOrigin: https://evil.example"),
        format!("{own}\r\nOrigin: http://{runtime_api}"),
        format!("{own}\r\nSec-Fetch-Site: cross-site"),
        "Host: evil.example".to_owned(),
    ] {
        for call in [answer, ("GET", "/2018-06-01/runtime/invocation/next")] {
            assert_eq!(ask(&runtime_api, call, &headers).await, 403, "{call:?} {headers}");
        }
    }
    assert!(invoke(&functions, json!({})).await.is_ok());
    functions.stop().await;
}

#[tokio::test]
async fn an_error_is_reported_and_the_process_stays() {
    let functions = start(spec()).await;
    let before = invoke(&functions, json!({})).await.unwrap()["pid"].clone();
    match invoke(&functions, json!({ "do": "fail" })).await {
        Err(InvokeError::Failed { message, .. }) => assert_eq!(message, "it failed"),
        other => panic!("{other:?}"),
    }
    assert_eq!(invoke(&functions, json!({})).await.unwrap()["pid"], before);
    functions.stop().await;
}

#[tokio::test]
async fn a_crash_fails_its_invocation_at_once_and_is_replaced() {
    let functions = start(spec()).await;
    for _ in 0..3 {
        let started = Instant::now();
        assert!(matches!(invoke(&functions, json!({ "do": "die" })).await, Err(InvokeError::Crashed)));
        assert!(started.elapsed() < Duration::from_secs(10), "not at once");
        assert!(invoke(&functions, json!({})).await.is_ok());
    }
    functions.stop().await;
}

#[tokio::test]
async fn a_killed_idle_process_is_replaced() {
    let functions = start(spec()).await;
    let pid = functions.running()[0].pid;
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid as i32).unwrap(), rustix::process::Signal::KILL)
        .unwrap();
    until(|| functions.running().iter().any(|running| running.pid != pid)).await;
    assert_ne!(invoke(&functions, json!({})).await.unwrap()["pid"], pid);
    functions.stop().await;
}

#[tokio::test]
async fn a_passed_deadline_ends_the_process() {
    let functions = start(FunctionSpec { timeout: Duration::from_secs(6), ..spec() }).await;
    let pid = functions.running()[0].pid;
    assert!(matches!(invoke(&functions, json!({ "do": "sleep" })).await, Err(InvokeError::TimedOut)));
    until(|| process_state(pid).is_none()).await;
    assert!(invoke(&functions, json!({})).await.is_ok());
    functions.stop().await;
}

#[tokio::test]
async fn a_pool_grows_to_its_maximum_and_one_process_has_one_invocation() {
    let functions = start(spec()).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("go");
    let event = json!({ "do": "wait_for", "path": path });
    let waiting: Vec<_> = (0..5)
        .map(|_| {
            let (functions, event) = (functions.clone(), event.clone());
            tokio::spawn(async move { invoke(&functions, event).await.unwrap()["pid"].as_u64().unwrap() })
        })
        .collect();
    // A process that has only just been started would be too late for what the other one answers in a moment.
    until(|| busy_count(&functions) == 2).await;
    std::fs::write(&path, "").unwrap();
    let mut pids = BTreeSet::new();
    for waiting in waiting {
        pids.insert(waiting.await.unwrap());
    }
    assert_eq!((pids.len(), functions.running().len()), (2, 2));
    functions.stop().await;
}

#[tokio::test]
async fn a_process_takes_as_many_invocations_as_its_concurrency() {
    let functions = start(FunctionSpec { maximum_count: 1, concurrency: 3, ..spec() }).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("go");
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let (functions, event) = (functions.clone(), json!({ "do": "wait_for", "path": path }));
            tokio::spawn(async move { invoke(&functions, event).await.unwrap() })
        })
        .collect();
    // With two held, the third worker still answers.
    assert!(invoke(&functions, json!({})).await.is_ok());
    std::fs::write(&path, "").unwrap();
    for waiting in waiting {
        waiting.await.unwrap();
    }
    functions.stop().await;
}

#[tokio::test]
async fn an_abandoned_invocation_is_not_handed_over() {
    let functions = start(FunctionSpec { maximum_count: 1, ..spec() }).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("go");
    let (first, event) = (functions.clone(), json!({ "do": "wait_for", "path": path }));
    let first = tokio::spawn(async move { invoke(&first, event).await });
    until(|| busy_count(&functions) == 1).await;
    {
        let dying = invoke(&functions, json!({ "do": "die" }));
        tokio::pin!(dying);
        assert!(futures_util::poll!(dying).is_pending());
    }
    std::fs::write(&path, "").unwrap();
    let pid = first.await.unwrap().unwrap()["pid"].clone();
    assert_eq!(invoke(&functions, json!({})).await.unwrap()["pid"], pid);
    functions.stop().await;
}

#[tokio::test]
async fn a_frozen_process_stands_still_between_invocations() {
    let functions = start(FunctionSpec { freeze: true, ..spec() }).await;
    let pid = functions.running()[0].pid;
    for _ in 0..3 {
        until(|| process_state(pid) == Some('T')).await;
        assert_eq!(invoke(&functions, json!({})).await.unwrap()["pid"], pid);
    }
    until(|| process_state(pid) == Some('T')).await;
    timeout(PATIENCE, functions.stop()).await.unwrap();
    assert_eq!(process_state(pid), None);
}

#[tokio::test]
async fn a_function_that_cannot_start_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut broken = spec();
    let marker = directory.path().join("never").display().to_string();
    Arc::make_mut(&mut broken.variables).push(("DIE_AT_START_UNTIL_EXISTS".into(), marker));
    let error = Functions::start(vec![broken], None).await.err().unwrap();
    assert!(error.to_string().contains("echo"), "{error}");
    let missing = FunctionSpec { program: "/nowhere/at/all".into(), ..spec() };
    assert!(Functions::start(vec![missing], None).await.is_err());
}

#[tokio::test]
async fn the_init_limit_ends_a_process_that_asks_for_nothing_and_no_other() {
    let (program, arguments) = ("/bin/sleep".into(), vec!["60".into()]);
    let silent = FunctionSpec { program, arguments, init_limit: Duration::from_millis(200), ..spec() };
    assert!(Functions::start(vec![silent], None).await.is_err());
    let init_limit = Duration::from_secs(5);
    let started = Instant::now();
    let functions = start(FunctionSpec { init_limit, ..spec() }).await;
    let pid = functions.running()[0].pid;
    while started.elapsed() < init_limit + Duration::from_millis(200) {
        assert_eq!(invoke(&functions, json!({})).await.unwrap()["pid"], pid);
    }
    functions.stop().await;
}

#[tokio::test]
async fn a_function_that_recovers_from_a_bad_start_serves_again() {
    let directory = tempfile::tempdir().unwrap();
    let marker = directory.path().join("healthy");
    let mut moody = spec();
    Arc::make_mut(&mut moody.variables).push(("DIE_AT_START_UNTIL_EXISTS".into(), marker.display().to_string()));
    std::fs::write(&marker, "").unwrap();
    let functions = start(moody).await;
    std::fs::remove_file(&marker).unwrap();
    assert!(matches!(invoke(&functions, json!({ "do": "die" })).await, Err(InvokeError::Crashed)));
    assert!(matches!(invoke(&functions, json!({})).await, Err(InvokeError::Unavailable)));
    std::fs::write(&marker, "").unwrap();
    let deadline = Instant::now() + PATIENCE;
    while invoke(&functions, json!({})).await.is_err() {
        assert!(Instant::now() < deadline);
        sleep(Duration::from_millis(20)).await;
    }
    functions.stop().await;
}

#[tokio::test]
async fn stopping_waits_for_a_running_invocation() {
    let functions = start(spec()).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("go");
    let (caller, event) = (functions.clone(), json!({ "do": "wait_for", "path": path }));
    let held = tokio::spawn(async move { invoke(&caller, event).await });
    until(|| busy_count(&functions) == 1).await;
    let stopping = functions.clone();
    let stopping = tokio::spawn(async move { stopping.stop().await });
    assert!(!stopping.is_finished());
    std::fs::write(&path, "").unwrap();
    assert!(held.await.unwrap().is_ok());
    timeout(PATIENCE, stopping).await.unwrap().unwrap();
    assert!(functions.running().is_empty());
}

fn busy_count(functions: &Functions) -> usize {
    let Source::Processes(pools) = &functions.source else { return 0 };
    pools.values().map(Pool::busy_count).sum()
}

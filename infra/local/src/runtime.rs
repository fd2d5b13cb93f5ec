//! The whole runtime, from its start to its end.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::{Instant, timeout},
};
use topics::Scale;

use crate::{
    announcement::{self, Addresses},
    cli::Arguments,
    dev::{Dev, EventSourceSlot},
    embedded::{Broker, Gate, Tables},
    event_source::{self, Counts, EventSource, EventSourceConfig, PartitionsInPayload, Responses},
    faults::{FaultSettings, Faults},
    gateway::{Gateway, STAGE, Settings},
    kafka::Kafka,
    lambda::{self, Binary, Functions, Watchdog},
    provision,
    schedule::Schedule,
    stack,
    token::Signer,
};

/// How long the end waits for the event source to deliver what was acknowledged.
const LAG_LIMIT: Duration = Duration::from_secs(10);

/// How long the end then waits for the batches in flight: their function's timeout is far longer.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Signals that come so soon after one are the same wish: a terminal and whoever started this process both send it.
const SAME_WISH: Duration = Duration::from_secs(1);

/// How long the ready room may take.
const ROOM_LIMIT: Duration = Duration::from_secs(15);

/// The same where functions are served elsewhere: `cargo lambda watch` compiles a function at its first call.
const REMOTE_ROOM_LIMIT: Duration = Duration::from_secs(600);

/// Where the environment of functions that are served elsewhere is written, in the workspace.
const ENV_FILE: &str = "target/local.env";

/// Everything that runs, in the order of its start.
struct Runtime {
    backing: Backing,
    functions: Functions,
    gateway: Arc<Gateway>,
    faults: Arc<Faults>,
    event_source: EventSourceSlot,
    schedule: Schedule,
    signer: Signer,
    addresses: Addresses,
}

/// Kafka and DynamoDB, embedded or not.
struct Backing {
    kafka: Kafka,
    dynamodb: String,
    broker: Option<Broker>,
    tables: Option<Tables>,
}

/// Signals that end the runtime.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

/// Runs until a signal, then drains.
///
/// # Errors
/// One sentence that says why the runtime could not start.
pub(crate) async fn run(arguments: &Arguments) -> Result<(), String> {
    let mut signals = Signals::new().map_err(|error| format!("signals cannot be received: {error}"))?;
    let started = tokio::select! {
        runtime = start(arguments) => Some(runtime?),
        () = signals.next() => None,
    };
    let Some(runtime) = started else { return Ok(()) };
    tokio::select! {
        Err(error) = runtime.announce(arguments) => return Err(format!("standard output is closed: {error}")),
        () = signals.next() => {}
    }
    tracing::info!("ending: connections are closed, acknowledged messages are stored; a second signal waits for less");
    let hurry = watch::Sender::new(false);
    tokio::select! {
        () = runtime.end(hurry.subscribe()) => Ok(()),
        () = signals.further(&hurry) => Err("ended at once: what was acknowledged may not be stored".to_owned()),
    }
}

async fn start(arguments: &Arguments) -> Result<Runtime, String> {
    let listener = listen(arguments.port).await?;
    let port = listener.local_addr().map_err(|error| error.to_string())?.port();
    let binaries = binaries(arguments).await?;
    let backing = Backing::start(arguments).await?;
    let addresses = backing.addresses(port);
    let signer = Signer::new();
    let functions = functions(arguments, binaries, &backing, &addresses, &signer).await?;
    let (faults, event_source) = (Arc::new(Faults::default()), EventSourceSlot::default());
    let dev = Dev::new(signer.clone(), Arc::clone(&faults), Arc::clone(&event_source), backing.gate());
    let settings = Settings {
        idle_limit: Duration::from_millis(arguments.idle_timeout_ms),
        connection_limit: Duration::from_millis(arguments.max_connection_ms),
    };
    let gateway = Gateway::start(listener, port, functions.clone(), (dev, Arc::clone(&faults)), settings);
    let source = read_topics(arguments, &backing, &functions).await?;
    *event_source.write().await = Some(source);
    let schedule = Schedule::start(functions.clone(), Duration::from_secs(arguments.sweep_interval));
    Ok(Runtime { backing, functions, gateway, faults, event_source, schedule, signer, addresses })
}

async fn listen(port: u16) -> Result<TcpListener, String> {
    TcpListener::bind(("127.0.0.1", port)).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("port {port} is taken: end what listens there, or start with --port 0 for a free one")
        }
        _ => format!("port {port} cannot be listened on: {error}"),
    })
}

async fn binaries(arguments: &Arguments) -> Result<Vec<Binary>, String> {
    if arguments.invoke_url.is_some() {
        return Ok(Vec::new());
    }
    let (no_build, directory) = (arguments.no_build, arguments.functions_dir.clone());
    let find = move || match directory {
        Some(directory) => lambda::found_in(&directory, &stack::names()),
        None if no_build => lambda::found_beside(&stack::names()),
        None => lambda::built(&stack::names()),
    };
    let found = tokio::task::spawn_blocking(find).await.map_err(|error| error.to_string())?;
    found.map_err(|error| error.to_string())
}

async fn functions(
    arguments: &Arguments,
    binaries: Vec<Binary>,
    backing: &Backing,
    addresses: &Addresses,
    signer: &Signer,
) -> Result<Functions, String> {
    let used =
        stack::Addresses { management: &addresses.management, dynamodb: &backing.dynamodb, kafka: &backing.kafka };
    let variables = stack::variables(arguments, &used, signer);
    if let Some(url) = &arguments.invoke_url {
        let file = lambda::workspace().join(ENV_FILE);
        // With CARGO_TARGET_DIR there may be no such directory yet.
        let written = std::fs::create_dir_all(file.parent().unwrap_or(&file))
            .and_then(|()| std::fs::write(&file, stack::env_file(&variables)));
        written.map_err(|error| format!("{}: {error}", file.display()))?;
        tracing::info!(url, "waiting for the functions: in another terminal, cargo lambda watch --env-file {ENV_FILE}");
        let functions = Functions::remote(url)?;
        functions.reachable().await;
        return Ok(functions);
    }
    let watchdog =
        Watchdog::start().map_err(|error| format!("the watchdog of the functions did not start: {error}"))?;
    let specs = stack::specs(arguments, binaries, variables);
    Functions::start(specs, Some(watchdog)).await.map_err(|error| error.to_string())
}

async fn read_topics(arguments: &Arguments, backing: &Backing, functions: &Functions) -> Result<EventSource, String> {
    let config = EventSourceConfig {
        kafka: backing.kafka.clone(),
        topics: event_source::SOURCES.map(|name| backing.kafka.topic(name)).to_vec(),
        gate: backing.gate(),
        batch_size: usize::from(arguments.batch_size),
        window: Duration::from_millis(arguments.batching_window_ms),
        pollers: stack::POLLERS,
        partitions_in_payload: match arguments.split_partitions {
            true => PartitionsInPayload::Split,
            false => PartitionsInPayload::Merged,
        },
        responses: if arguments.no_partial_responses { Responses::Whole } else { Responses::Partial },
    };
    let functions = functions.clone();
    let invoke = move |payload| {
        let functions = functions.clone();
        async move { functions.invoke("consumer", payload).await }
    };
    event_source::start(config, invoke).await.map_err(|error| error.to_string())
}

impl Backing {
    async fn start(arguments: &Arguments) -> Result<Self, String> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (kafka, broker) = match Kafka::from_environment(variable).map_err(|error| error.to_string())? {
            Some(kafka) => {
                kafka.see_to_topics().await.map_err(|error| error.to_string())?;
                (kafka, None)
            }
            None => {
                let broker = Broker::start(&topics::declared(Scale::Local)).map_err(|error| error.to_string())?;
                (Kafka::plaintext(broker.bootstrap_servers()), Some(broker))
            }
        };
        let (dynamodb, tables) = match variable("AWS_ENDPOINT_URL_DYNAMODB") {
            Some(endpoint) => (endpoint.trim_end_matches('/').to_owned(), None),
            None => {
                let tables = Tables::start(arguments.data.as_deref()).await.map_err(|error| error.to_string())?;
                (tables.endpoint().to_owned(), Some(tables))
            }
        };
        provision::create_tables(&dynamodb).await.map_err(|error| error.to_string())?;
        Ok(Self { kafka, dynamodb, broker, tables })
    }

    fn gate(&self) -> Option<Gate> {
        self.broker.as_ref().map(Broker::gate)
    }

    fn addresses(&self, port: u16) -> Addresses {
        Addresses {
            websocket: format!("ws://127.0.0.1:{port}/{STAGE}"),
            http: format!("http://127.0.0.1:{port}"),
            management: format!("http://127.0.0.1:{port}/{STAGE}"),
            kafka: self.kafka.bootstrap_servers().to_owned(),
            dynamodb: self.dynamodb.clone(),
        }
    }
}

impl Runtime {
    async fn announce(&self, arguments: &Arguments) -> std::io::Result<()> {
        if arguments.json {
            announcement::print_json(&self.addresses)
        } else {
            let limit = if arguments.invoke_url.is_some() { REMOTE_ROOM_LIMIT } else { ROOM_LIMIT };
            announcement::print_banner(&self.addresses, &self.signer, limit).await
        }
    }

    /// Ends in the order that loses nothing: no more input, then its delivery, then those who deliver it. Who is in a
    /// hurry waits for the delivery alone: for no answer that clients wait for, and for no invocation.
    async fn end(self, hurry: watch::Receiver<bool>) {
        self.faults.set(FaultSettings::default());
        if let Some(gate) = self.backing.gate() {
            gate.take_away(BTreeSet::new());
            gate.delay(Duration::ZERO);
        }
        unless_in_a_hurry(&hurry, self.gateway.drain()).await;
        unless_in_a_hurry(&hurry, self.schedule.stop()).await;
        if let Some(event_source) = self.event_source.write().await.take() {
            event_source.resume();
            if !event_source.drained(LAG_LIMIT).await {
                tracing::warn!("not everything on the topics was delivered in time");
            }
            let Counts { batches, records, failures, lost } = event_source.counts();
            tracing::info!(batches, records, failures, lost, "the event source ends");
            // Dropped when it does not end in time; what is not committed is delivered again after the next start.
            if timeout(STOP_LIMIT, event_source.stop()).await.is_err() {
                tracing::warn!("a batch did not end in time");
            }
        }
        unless_in_a_hurry(&hurry, self.functions.stop()).await;
        if let Some(tables) = self.backing.tables {
            tables.stop().await;
        }
        drop(self.backing.broker);
    }
}

/// Waits for something as long as there is no hurry.
async fn unless_in_a_hurry(hurry: &watch::Receiver<bool>, work: impl Future<Output = ()>) {
    let mut hurry = hurry.clone();
    tokio::select! {
        () = work => {}
        Ok(_) = hurry.wait_for(|hurry| *hurry) => {}
    }
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// What follows the first signal: the next one is a hurry, and returns with the one after that.
    async fn further(&mut self, hurry: &watch::Sender<bool>) {
        self.next_wish().await;
        tracing::warn!(
            "waiting no longer than acknowledged messages need; a third signal does not wait for them either"
        );
        hurry.send_replace(true);
        self.next_wish().await;
    }

    /// The next signal that is a wish of its own.
    async fn next_wish(&mut self) {
        let last = Instant::now();
        loop {
            self.next().await;
            if last.elapsed() >= SAME_WISH {
                return;
            }
        }
    }
}

//! The Kafka cluster that the systems of this test run use, when it is not the embedded one of each.
//!
//! `infra/kafka/run -- cargo test …` names one: by `MADANG_TEST_KAFKA` (a directory with the process id of each broker,
//! since tests may harm it), the functions' own `KAFKA_…` variables, and the same of an operator, with `OPERATOR_` before
//! them: the functions' user may make no topics. All systems share it, so each gets topics of its own by a prefix.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde::Deserialize;

use crate::deadline::eventually_in;
use crate::permitted::Call;
use crate::process::send_signal;
use crate::runtime::unique;

/// Says that the cluster of the `KAFKA_…` variables may be used, and harmed.
const DIRECTORY_VARIABLE: &str = "MADANG_TEST_KAFKA";

/// What a function signs tokens with.
const ROLE: [&str; 3] = ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

/// What stands before the names of the operator's variables.
const OPERATOR: &str = "OPERATOR_";

/// How long a broker may take to end in order and to be ready again.
const RESTART_LIMIT: Duration = Duration::from_secs(60);

/// Variables by which Kafka is reached, as the functions know them.
pub type Variables = BTreeMap<String, String>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Topic {
    local_partitions: i32,
}

/// Whether there is one.
#[must_use]
pub fn is_used() -> bool {
    std::env::var_os(DIRECTORY_VARIABLE).is_some()
}

/// Which topics functions have written to so far, without what stands before the topics' names.
///
/// # Panics
/// There is no cluster.
#[must_use]
pub fn written() -> BTreeSet<Call> {
    let directory = PathBuf::from(std::env::var_os(DIRECTORY_VARIABLE).expect("a cluster"));
    let register = std::fs::read_to_string(directory.join("register")).expect("the brokers write it");
    let call = |line: &str| match line.split('\t').collect::<Vec<_>>()[..] {
        // A client with no name is an operator's, or a test's.
        ["rdkafka", ..] => None,
        [function, "WRITE", "TOPIC", topic] => Some(Call {
            function: function.to_owned(),
            on: "topics".to_owned(),
            what: topic.rsplit('.').next().unwrap_or_default().to_owned(),
        }),
        _ => None,
    };
    register.lines().filter_map(call).collect()
}

/// What a system of its own gets in its environment to use the cluster; nothing when it embeds a broker.
#[must_use]
pub fn with_own_topics() -> Variables {
    if !is_used() {
        return Variables::new();
    }
    let mut variables = outside();
    variables.insert("KAFKA_TOPIC_PREFIX".to_owned(), format!("{}.", unique("test")));
    variables
}

/// The `KAFKA_…` variables of this test run, and where functions sign tokens what they sign with.
#[must_use]
pub fn outside() -> Variables {
    let mut variables: Variables = std::env::vars().filter(|(name, _)| name.starts_with("KAFKA_")).collect();
    if variables.get("KAFKA_SASL_MECHANISM").is_some_and(|mechanism| mechanism == "OAUTHBEARER") {
        variables.extend(std::env::vars().filter(|(name, _)| ROLE.contains(&name.as_str())));
    }
    variables
}

/// How an operator reaches the same topics: by the same variables unless the systems share a cluster.
#[must_use]
pub fn as_operator(variables: &Variables) -> Variables {
    if !is_used() {
        return variables.clone();
    }
    let own = |(name, value): (String, String)| Some((name.strip_prefix(OPERATOR)?.to_owned(), value));
    let mut operator: Variables = std::env::vars().filter_map(own).collect();
    for name in ["KAFKA_TOPIC_PREFIX", "KAFKA_PARTITIONS"] {
        operator.extend(variables.get(name).map(|value| (name.to_owned(), value.clone())));
    }
    operator
}

/// What leads to the broker of a local runtime: without encryption unless more is said, with its number of partitions.
///
/// # Panics
/// The data file of the topics cannot be read.
#[must_use]
pub fn of_local_runtime(bootstrap_servers: &str, more: Variables) -> Variables {
    let topics: BTreeMap<String, Topic> =
        serde_json::from_str(include_str!("../../infra/topics.json")).expect("the topics");
    let partitions: Vec<String> =
        topics.iter().map(|(name, topic)| format!("{name}:{}", topic.local_partitions)).collect();
    let mut variables = Variables::from([
        ("KAFKA_SECURITY_PROTOCOL".to_owned(), "PLAINTEXT".to_owned()),
        ("KAFKA_PARTITIONS".to_owned(), partitions.join(",")),
    ]);
    variables.extend(more);
    variables.insert("KAFKA_BOOTSTRAP_SERVERS".to_owned(), bootstrap_servers.to_owned());
    variables
}

/// The brokers of the cluster, to be harmed.
pub struct Brokers {
    directory: PathBuf,
}

impl Brokers {
    /// Those of this test run.
    ///
    /// # Panics
    /// There are none: the tests run on embedded brokers.
    #[must_use]
    pub fn of_this_run() -> Self {
        let directory = std::env::var_os(DIRECTORY_VARIABLE);
        let directory = directory.expect("a cluster: infra/kafka/run -- cargo test --workspace --test real_kafka");
        Self { directory: directory.into() }
    }

    /// Where their logs, and what their certificates were made with, are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        (1..).take_while(|number| self.directory.join(format!("broker-{number}.properties")).exists()).count()
    }

    /// How many lines of the brokers' logs hold a text.
    ///
    /// # Panics
    /// A log cannot be read.
    #[must_use]
    pub fn log_lines_with(&self, text: &str) -> usize {
        let lines = |number: usize| {
            let log = std::fs::read(self.directory.join(format!("broker-{}.log", number + 1))).expect("a log");
            String::from_utf8_lossy(&log).lines().filter(|line| line.contains(text)).count()
        };
        (0..self.count()).map(lines).sum()
    }

    /// Ends a broker in order, by its number from 0, and waits until it has been started again and is ready.
    pub async fn restart(&self, number: usize) {
        let process = self.process(number).expect("a broker that is ready");
        send_signal(process, Signal::TERM);
        let restarted = || self.process(number).is_some_and(|other| other != process);
        eventually_in(RESTART_LIMIT, "a broker that is ready again", async || restarted().then_some(())).await;
    }

    /// The process of a broker; none while it is not ready.
    fn process(&self, number: usize) -> Option<Pid> {
        let text = std::fs::read_to_string(self.directory.join(format!("broker-{}.pid", number + 1))).ok()?;
        Pid::from_raw(text.parse().ok()?)
    }
}

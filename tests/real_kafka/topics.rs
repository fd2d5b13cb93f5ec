//! `admin topics apply`: topics come to be by it alone, as declared, and what breaks order is refused.

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use tests::admin::run;
use tests::broker::Broker;
use tests::cluster::{Variables, as_operator, with_own_topics};
use tests::runtime::Ended;

use crate::turn;

pub(crate) const APPLY: [&str; 2] = ["topics", "apply"];

pub(crate) fn with(variables: &Variables, changes: &[(&str, &str)]) -> Variables {
    let mut variables = variables.clone();
    variables.extend(changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    variables
}

pub(crate) fn lines(variables: &Variables, outcome: &str, counts: [usize; 4]) -> Vec<String> {
    let prefix = &variables["KAFKA_TOPIC_PREFIX"];
    let topics = ["chat-messages", "chat-messages-dlt", "chat-presence", "chat-read-events"];
    topics.iter().zip(counts).map(|(topic, count)| format!("{prefix}{topic} {outcome}, {count} partitions")).collect()
}

/// One sentence on standard error holds this, and nothing was done.
pub(crate) async fn refused(variables: &Variables, sentence: &str) {
    let Ended { code, output, log } = run(variables, &APPLY).await;
    assert_eq!((code, output.as_slice()), (Some(1), [].as_slice()), "{log:?}");
    let [line] = log.as_slice() else { panic!("more than a sentence: {log:#?}") };
    assert!(line.starts_with("admin: ") && line.contains(sentence), "{line}");
}

#[tokio::test]
async fn topics_are_made_once_as_declared_and_never_changed() {
    let _turn = turn().await;
    let variables = as_operator(&with_own_topics());
    for outcome in ["made", "is there", "is there"] {
        let ended = run(&variables, &APPLY).await;
        assert_eq!(
            (ended.code, ended.output),
            (Some(0), lines(&variables, outcome, [12, 12, 6, 6])),
            "{:?}",
            ended.log
        );
    }
    let name = format!("{}chat-messages", variables["KAFKA_TOPIC_PREFIX"]);
    let more = with(&variables, &[("KAFKA_PARTITIONS", "chat-messages:24")]);
    let raise = "a raise moves rooms and has its order; `admin topics raise-partitions` does it";
    let sentence = format!("{name} has 12 partitions, but 24 are configured: {raise}");
    refused(&more, &sentence).await;
    let fewer = with(&variables, &[("KAFKA_PARTITIONS", "chat-messages:6")]);
    refused(&fewer, &format!("{name} has 12 partitions, but 6 are configured: partitions cannot be taken away")).await;
    assert_eq!(run(&variables, &APPLY).await.output, lines(&variables, "is there", [12, 12, 6, 6]));
}

#[tokio::test]
async fn nothing_is_made_beside_a_topic_that_is_not_as_declared() {
    let _turn = turn().await;
    let variables = as_operator(&with_own_topics());
    let name = format!("{}chat-presence", variables["KAFKA_TOPIC_PREFIX"]);
    let client: ClientConfig = Broker::new(&variables).client();
    let admin: AdminClient<DefaultClientContext> = client.create().unwrap();
    let topic = NewTopic::new(&name, 6, TopicReplication::Fixed(-1)).set("retention.ms", "7200000");
    admin.create_topics(&[topic], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    refused(&variables, &format!("{name} has retention.ms=7200000, but 3600000 is declared")).await;
    let metadata = admin.inner().fetch_metadata(None, tests::deadline::PATIENCE).unwrap();
    let ours = metadata.topics().iter().filter(|topic| topic.name().starts_with(&variables["KAFKA_TOPIC_PREFIX"]));
    assert_eq!(ours.map(|topic| topic.name()).collect::<Vec<_>>(), [name]);
}

/// Where its own management makes a cluster's topics, as on Event Hubs, whoever asks for them may neither make them nor
/// hear what they keep: so may the functions' user here.
#[tokio::test]
async fn topics_that_others_make_are_only_looked_for() {
    let _turn = turn().await;
    let functions = with(&with_own_topics(), &[("KAFKA_TOPICS", "verify")]);
    let operator = as_operator(&functions);
    let name = |topic: &str| format!("{}{topic}", functions["KAFKA_TOPIC_PREFIX"]);
    let step = format!(
        "on Event Hubs do: az eventhubs eventhub create --resource-group GROUP --namespace-name NAMESPACE --name {} \
         --partition-count 12 --cleanup-policy Delete --retention-time-in-hours 168 && az ",
        name("chat-messages")
    );
    refused(&functions, &step).await;
    refused(&functions, &format!("the cluster has no {}, {}, ", name("chat-messages"), name("chat-messages-dlt")))
        .await;
    let other = [("KAFKA_PARTITIONS", "chat-presence:4")];
    assert_eq!(run(&with(&operator, &other), &APPLY).await.code, Some(0));
    refused(&functions, &format!("{} has 4 partitions, but 6 are configured", name("chat-presence"))).await;
    let ended = run(&with(&functions, &other), &APPLY).await;
    assert_eq!((ended.code, ended.output), (Some(0), lines(&functions, "is there", [12, 12, 4, 6])), "{:?}", ended.log);
}

/// MSK Serverless refuses a topic that asks for `segment.ms`, and has one of its own.
#[tokio::test]
async fn a_cluster_may_cut_its_files_as_it_likes() {
    let _turn = turn().await;
    let variables = as_operator(&with_own_topics());
    let without = with(&variables, &[("KAFKA_TOPICS", "make-without-segments")]);
    for outcome in ["made", "is there"] {
        let ended = run(&without, &APPLY).await;
        assert_eq!(ended.output, lines(&variables, outcome, [12, 12, 6, 6]), "{:?}", ended.log);
    }
    let name = format!("{}chat-messages", variables["KAFKA_TOPIC_PREFIX"]);
    refused(&variables, &format!("{name} has segment.ms=604800000, but 86400000 is declared")).await;
}

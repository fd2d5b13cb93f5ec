//! `admin topics apply`: topics come to be by it alone, as declared, and what breaks order is refused.

use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigResource, ConfigSource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use tests::admin::run;
use tests::broker::Broker;
use tests::cluster::{Brokers, Variables, as_operator, with_own_topics};
use tests::deadline::eventually;
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

fn admin(variables: &Variables) -> AdminClient<DefaultClientContext> {
    let client: ClientConfig = Broker::new(variables).client();
    client.create().unwrap()
}

/// What was set for a topic itself.
async fn own_setting(admin: &AdminClient<DefaultClientContext>, topic: &str, setting: &str) -> Option<String> {
    let answers = admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &AdminOptions::new()).await;
    let settings: ConfigResource = answers.unwrap().remove(0).unwrap();
    let entry = settings.get(setting).filter(|entry| entry.source == ConfigSource::DynamicTopic);
    entry.and_then(|entry| entry.value.clone())
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
    let admin = admin(&variables);
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

/// With three replicas and `min.insync.replicas=1`, which is Kafka's own, a leader acknowledged alone, and the record
/// was lost with it. (One broker has no other replica.)
#[tokio::test]
async fn what_is_acknowledged_is_not_lost_with_one_of_several_brokers() {
    let _turn = turn().await;
    let is_alone = Brokers::of_this_run().count() == 1;
    let variables = as_operator(&with_own_topics());
    let verify = with(&variables, &[("KAFKA_TOPICS", "verify")]);
    let name = format!("{}chat-messages", variables["KAFKA_TOPIC_PREFIX"]);
    let admin = admin(&variables);
    // What else is told than what became of the topics.
    let told = async |variables: &Variables, outcome: &str| {
        let ended = run(variables, &APPLY).await;
        assert_eq!(ended.output, lines(variables, outcome, [12, 12, 6, 6]), "{:?}", ended.log);
        ended.log
    };
    let lone =
        "admin: the cluster has one broker, and what it has acknowledged is lost with it: keep it for development";
    let expected = if is_alone { vec![lone.to_owned()] } else { Vec::new() };
    assert_eq!(told(&variables, "made").await, expected);
    assert_eq!(told(&variables, "is there").await, expected);
    assert_eq!(told(&verify, "is there").await, expected);
    let own = async |setting| own_setting(&admin, &name, setting).await;
    assert_eq!(own("unclean.leader.election.enable").await.as_deref(), Some("false"));
    assert_eq!(own("min.insync.replicas").await.as_deref(), if is_alone { None } else { Some("2") });

    for (setting, value) in [("min.insync.replicas", "1"), ("unclean.leader.election.enable", "true")] {
        let declared = [("retention.ms", "604800000"), ("segment.ms", "86400000"), ("max.message.bytes", "1048588")];
        let altered = AlterConfig::new(ResourceSpecifier::Topic(&name)).set(setting, value);
        let altered = declared.iter().fold(altered, |altered, (setting, value)| altered.set(setting, value));
        admin.alter_configs(&[altered], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
        if is_alone {
            assert_eq!(told(&variables, "is there").await, expected, "{setting}");
        } else {
            // The brokers learn of it one after the other.
            eventually("the change seen", async || {
                let told = own_setting(&admin, &name, setting).await;
                (told.as_deref() == Some(value) && run(&variables, &APPLY).await.code == Some(1)).then_some(())
            })
            .await;
            let risk = format!("{name} has {setting}={value}: ");
            refused(&variables, &risk).await;
            // Whoever else makes the topics is told, too.
            let log = told(&verify, "is there").await;
            assert!(log.len() == 1 && log[0].starts_with(&format!("admin: {risk}")), "{log:?}");
        }
    }
}

//! The functions' user may write to the four topics and read three of them, and nothing else. That it may so much shows
//! every other test: each runs with these rights.

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode::{self, TopicAuthorizationFailed};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::util::Timeout;
use tests::admin::run;
use tests::broker::Broker;
use tests::cluster::{Variables, as_operator, with_own_topics};
use tests::deadline::PATIENCE;
use tests::runtime::unique;

use crate::topics::{APPLY, refused, with};
use crate::turn;

const TOPICS: [&str; 4] = ["chat-messages", "chat-read-events", "chat-presence", "chat-messages-dlt"];

/// The user and the operator, both without a prefix: the rights of an installation are literal.
fn both() -> (Variables, Variables) {
    let functions = with(&with_own_topics(), &[("KAFKA_TOPIC_PREFIX", "")]);
    let operator = as_operator(&functions);
    (functions, operator)
}

/// What becomes of a record that a user puts on a topic.
async fn written(variables: &Variables, topic: &str) -> Option<RDKafkaErrorCode> {
    let mut client = Broker::new(variables).client();
    let producer: FutureProducer = client.set("enable.idempotence", "true").create().unwrap();
    let record = FutureRecord::<[u8], [u8]>::to(topic).partition(0);
    let sent = producer.send(record, Timeout::After(PATIENCE)).await;
    sent.err().and_then(|(error, _)| error.rdkafka_error_code())
}

/// What a user meets who reads a topic from its beginning. Blocks.
fn read(variables: &Variables, topic: &str) -> Option<RDKafkaErrorCode> {
    let mut client = Broker::new(variables).client();
    let consumer: BaseConsumer = client.set("group.id", "madang-test").create().unwrap();
    let mut partition = TopicPartitionList::new();
    partition.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&partition).unwrap();
    let met = consumer.poll(PATIENCE).expect("a record or a refusal");
    met.err().and_then(|error| error.rdkafka_error_code())
}

#[tokio::test]
async fn the_functions_user_makes_and_changes_no_topic() {
    let _turn = turn().await;
    let functions = with_own_topics();
    let name = format!("{}chat-messages", functions["KAFKA_TOPIC_PREFIX"]);
    refused(&functions, &format!("{name} cannot be made or looked at: TopicAuthorizationFailed")).await;
    assert_eq!(run(&as_operator(&functions), &APPLY).await.code, Some(0));
    refused(&functions, &format!("{name} is there, but its settings are not told")).await;
    let admin: AdminClient<DefaultClientContext> = Broker::new(&functions).client().create().unwrap();
    let options = AdminOptions::new();
    let deleted = admin.delete_topics(&[&name], &options).await.unwrap();
    assert_eq!(deleted, [Err((name.clone(), TopicAuthorizationFailed))]);
    let raised = admin.create_partitions(&[NewPartitions::new(&name, 24)], &options).await.unwrap();
    assert_eq!(raised, [Err((name.clone(), TopicAuthorizationFailed))]);
    let settled = run(&as_operator(&functions), &APPLY).await;
    assert!(settled.output[0].ends_with("chat-messages is there, 12 partitions"), "{settled:?}");
}

#[tokio::test]
async fn the_functions_user_writes_four_topics_and_reads_three() {
    let _turn = turn().await;
    let (functions, operator) = both();
    assert_eq!(run(&operator, &APPLY).await.code, Some(0));
    for topic in TOPICS {
        assert_eq!(written(&functions, topic).await, None, "{topic}");
        let (functions, expected) =
            (functions.clone(), (topic == "chat-messages-dlt").then_some(TopicAuthorizationFailed));
        let met = tokio::task::spawn_blocking(move || read(&functions, topic)).await.unwrap();
        assert_eq!(met, expected, "{topic}");
    }
    let other = unique("other");
    let admin: AdminClient<DefaultClientContext> = Broker::new(&operator).client().create().unwrap();
    let topic = NewTopic::new(&other, 1, TopicReplication::Fixed(-1));
    admin.create_topics(&[topic], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    assert_eq!(written(&functions, &other).await, Some(TopicAuthorizationFailed));
}

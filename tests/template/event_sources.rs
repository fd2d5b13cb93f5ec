//! The event sources read the topics of `infra/topics.json`, and nothing of theirs discards a record that was
//! acknowledged.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::template::Template;

use crate::{CA_SECRET, DEAD_LETTERS, KAFKA_SECRET, MSK_SERVERLESS, SELF_MANAGED, read, read_json, stacks};

/// Every property that an event source may have. Another one is added here when it is known to discard nothing: a
/// filter, a destination, a split of batches and a record's age do.
const PROPERTIES: [&str; 15] = [
    "AmazonManagedKafkaEventSourceConfig",
    "BatchSize",
    "EventSourceArn",
    "FunctionName",
    "FunctionResponseTypes",
    "LoggingConfig",
    "MaximumBatchingWindowInSeconds",
    "MaximumRecordAgeInSeconds",
    "MaximumRetryAttempts",
    "ProvisionedPollerConfig",
    "SelfManagedEventSource",
    "SelfManagedKafkaEventSourceConfig",
    "SourceAccessConfigurations",
    "StartingPosition",
    "Topics",
];

#[test]
fn every_topic_has_one_event_source() {
    let facts = read_json("infra/topics.json");
    let expected: BTreeSet<&String> =
        facts.as_object().unwrap().keys().filter(|topic| *topic != DEAD_LETTERS).collect();
    for (name, stack) in stacks() {
        let sources = stack.resources("AWS::Lambda::EventSourceMapping");
        let topics: Vec<&Value> = sources.values().map(|source| &source["Properties"]["Topics"]).collect();
        assert!(topics.iter().all(|topics| topics.as_array().unwrap().len() == 1), "{name}: {topics:?}");
        assert_eq!(topics.len(), expected.len(), "{name}");
        let topics: BTreeSet<&str> = topics.iter().map(|topics| topics[0].as_str().unwrap()).collect();
        let prefix = &stack.function("consumer").variables()["KAFKA_TOPIC_PREFIX"];
        let expected: BTreeSet<String> = expected.iter().map(|topic| format!("{prefix}{topic}")).collect();
        assert_eq!(topics, expected.iter().map(String::as_str).collect(), "{name}");
    }
}

/// Each has its own, by the names of its topic and of its stack: a user may be given the groups of a prefix alone.
#[test]
fn every_event_source_has_its_own_group() {
    let facts = read_json("infra/topics.json");
    for (name, stack) in stacks() {
        let prefix = &stack.function("consumer").variables()["KAFKA_TOPIC_PREFIX"];
        for source in stack.resources("AWS::Lambda::EventSourceMapping").into_values() {
            let properties = &source["Properties"];
            let config = ["AmazonManagedKafkaEventSourceConfig", "SelfManagedKafkaEventSourceConfig"];
            let groups: Vec<&str> =
                config.iter().filter_map(|config| properties[config]["ConsumerGroupId"].as_str()).collect();
            let topic = properties["Topics"][0].as_str().unwrap().strip_prefix(prefix.as_str()).unwrap();
            assert_eq!(groups, [format!("{prefix}madang-{topic}")], "{name}");
        }
    }
    // A group's name has 200 letters at most, a stack's 128.
    let template = Template::read();
    let pattern = template.part("Parameters")["KafkaTopicPrefix"]["AllowedPattern"].as_str().unwrap();
    let most = pattern.split("{0,").nth(1).unwrap().split('}').next().unwrap();
    let topic = facts.as_object().unwrap().keys().filter(|topic| *topic != DEAD_LETTERS).map(String::len).max();
    assert!(most.parse::<usize>().unwrap() + 128 + "-".len() + topic.unwrap() <= 200, "{pattern}");
}

/// They are away while what cannot be changed about a living one is changed.
#[test]
fn event_sources_can_be_taken_away() {
    let template = Template::read();
    for (switch, sources) in [("on", 3), ("off", 0)] {
        let stack = template.with(&[SELF_MANAGED, &[("EventSources", switch)]].concat());
        assert_eq!(stack.resources("AWS::Lambda::EventSourceMapping").len(), sources, "{switch}");
        assert_eq!(stack.resources("Custom::Topics").len(), 1, "{switch}");
    }
    // Nor are there any before the brokers are known.
    let stack = template.with(&[SELF_MANAGED, &[("KafkaBootstrapServers", "")]].concat());
    assert!(stack.resources("AWS::Lambda::EventSourceMapping").is_empty());
}

#[test]
fn nothing_discards_a_record() {
    for (name, stack) in stacks() {
        for (resource, source) in stack.resources("AWS::Lambda::EventSourceMapping") {
            let properties = &source["Properties"];
            for property in properties.as_object().unwrap().keys() {
                assert!(PROPERTIES.contains(&property.as_str()), "{resource} with {name} has {property}");
            }
            assert_eq!(properties["MaximumRetryAttempts"], -1, "{resource} with {name}: retries without end");
            assert_eq!(properties["MaximumRecordAgeInSeconds"], -1, "{resource} with {name}: no record is too old");
            // From the latest record on, those acknowledged before the event source stood would be skipped.
            assert_eq!(properties["StartingPosition"], "TRIM_HORIZON", "{resource} with {name}");
        }
    }
}

#[test]
fn partial_responses_are_on_and_the_consumer_knows() {
    for (name, stack) in stacks() {
        let consumer = stack.function("consumer");
        assert_eq!(consumer.variables()["PARTIAL_BATCH_RESPONSES"], "true", "{name}");
        for source in stack.resources("AWS::Lambda::EventSourceMapping").values() {
            let properties = &source["Properties"];
            assert_eq!(properties["FunctionName"], format!("${{{}}}", consumer.resource), "{name}");
            assert_eq!(properties["FunctionResponseTypes"], json!(["ReportBatchItemFailures"]), "{name}");
        }
    }
}

#[test]
fn pollers_and_window_are_parameters() {
    let pollers = |stack: &tests::template::Stack, source: &str| {
        let properties = stack.resources("AWS::Lambda::EventSourceMapping")[source]["Properties"].clone();
        let config = &properties["ProvisionedPollerConfig"];
        let window = properties["MaximumBatchingWindowInSeconds"].clone();
        (config["MinimumPollers"].clone(), config["MaximumPollers"].clone(), window)
    };
    let template = Template::read();
    for (source, parameter) in [
        ("MessagesEventSource", "MessagesPollers"),
        ("ReadEventsEventSource", "ReadEventsPollers"),
        ("PresenceEventSource", "PresencePollers"),
    ] {
        assert_eq!(pollers(&template.with(SELF_MANAGED), source), (json!(1), json!("3"), json!("0")));
        let further = [SELF_MANAGED, &[(parameter, "9"), ("BatchingWindowSeconds", "1")]].concat();
        assert_eq!(pollers(&template.with(&further), source), (json!(1), json!("9"), json!("1")));
    }
}

#[test]
fn one_parameter_says_which_kafka() {
    let [self_managed, mutual_tls, msk, with_iam, serverless] = stacks().map(|(_, stack)| {
        let source = stack.resources("AWS::Lambda::EventSourceMapping").remove("MessagesEventSource").unwrap();
        (source["Properties"].clone(), stack.resources("AWS::MSK::ServerlessCluster").len())
    });
    assert_eq!(
        self_managed.0["SelfManagedEventSource"],
        json!({"Endpoints": {"KafkaBootstrapServers": ["one.invalid:9092", "two.invalid:9092"]}})
    );
    assert_eq!(self_managed.0["SourceAccessConfigurations"][0]["Type"], "BASIC_AUTH");
    let trusting = json!([
        {"Type": "CLIENT_CERTIFICATE_TLS_AUTH", "URI": KAFKA_SECRET},
        {"Type": "SERVER_ROOT_CA_CERTIFICATE", "URI": CA_SECRET},
    ]);
    assert_eq!(mutual_tls.0["SourceAccessConfigurations"], trusting);
    assert_eq!(self_managed.0["EventSourceArn"], Value::Null);
    for of_msk in [&msk, &with_iam] {
        assert_eq!(
            of_msk.0["EventSourceArn"],
            "arn:aws:kafka:eu-central-1:123456789012:cluster/chat/abcd1234-abcd-cafe-abab-9876543210ab-4"
        );
        assert_eq!(of_msk.0["SelfManagedEventSource"], Value::Null);
    }
    let access = &msk.0["SourceAccessConfigurations"];
    assert_eq!((access.as_array().unwrap().len(), &access[0]["Type"]), (1, &json!("SASL_SCRAM_512_AUTH")));
    assert_eq!(serverless.0["EventSourceArn"], "${KafkaCluster.Arn}");
    for with_role in [&with_iam, &serverless] {
        assert_eq!(with_role.0["SourceAccessConfigurations"], Value::Null);
    }
    assert_eq!([self_managed.1, mutual_tls.1, msk.1, with_iam.1, serverless.1], [0, 0, 0, 0, 1]);
}

/// The functions' first group alone is the cluster's, and a cluster in a changed one's place leaves that one with its
/// records.
#[test]
fn a_new_cluster_has_the_first_group() {
    let groups = [("SecurityGroupIds", "sg-1,sg-2")];
    let stack = Template::read().with(&[MSK_SERVERLESS, &groups].concat());
    let cluster = stack.resources("AWS::MSK::ServerlessCluster").remove("KafkaCluster").unwrap();
    let network = json!([{"SubnetIds": ["subnet-1", "subnet-2"], "SecurityGroups": ["sg-1"]}]);
    assert_eq!(cluster["Properties"]["VpcConfigs"], network);
    assert_eq!((&cluster["UpdateReplacePolicy"], &cluster["DeletionPolicy"]), (&json!("Retain"), &json!("Delete")));
}

/// FNV-1a of a text: enough to see that it has changed.
fn hash(text: &str) -> String {
    let step = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}

#[test]
fn topics_are_made_before_anything_reads_them() {
    let template = Template::read();
    for (name, resource) in template.part("Resources") {
        if resource["Type"] == "AWS::Lambda::EventSourceMapping" {
            assert_eq!(resource["DependsOn"], json!(["Topics"]), "{name}");
        }
    }
    for (name, stack) in stacks() {
        let topics = stack.resources("Custom::Topics").remove("Topics").unwrap()["Properties"].take();
        let provision = stack.function("provision");
        assert_eq!(topics["ServiceToken"], format!("${{{}.Arn}}", provision.resource), "{name}");
        // Otherwise CloudFormation gives up before the function does.
        assert!(topics["ServiceTimeout"].as_u64() > provision.properties["Timeout"].as_u64(), "{name}");
        let variables = provision.variables();
        for (property, variable) in [
            ("BootstrapServers", "KAFKA_BOOTSTRAP_SERVERS"),
            ("TopicPrefix", "KAFKA_TOPIC_PREFIX"),
            ("Partitions", "KAFKA_PARTITIONS"),
        ] {
            assert_eq!(topics[property], variables[variable], "{name}: a change is looked at");
        }
        assert_eq!(topics["Declared"], hash(&read("infra/topics.json")), "{name}: what to put there");
        // A new MSK Serverless cluster refuses topics that ask for segment.ms.
        let care = if name == "msk-serverless" { "make-without-segments" } else { "make" };
        assert_eq!(variables["KAFKA_TOPICS"], care, "{name}");
    }
}

/// Who signs in otherwise may be somebody else, who sees other topics.
#[test]
fn topics_are_looked_at_again_when_who_signs_in_changes() {
    let template = Template::read();
    let topics = |further: &[(&str, &str)]| {
        let stack = template.with(&[SELF_MANAGED, further].concat());
        stack.resources("Custom::Topics").remove("Topics").unwrap()["Properties"].take()
    };
    for parameter in ["KafkaAuthentication", "KafkaSecretArn", "KafkaCaSecretArn", "KafkaTopics", "SecretsRevision"] {
        assert_ne!(topics(&[(parameter, "another")]), topics(&[]), "{parameter}");
    }
}

/// It is documented for those of one VPC alone, and what a lone one says to the name of a group, nowhere.
#[test]
fn event_sources_share_a_poller_unit_in_a_vpc() {
    let network = [("SubnetIds", "subnet-1,subnet-2"), ("SecurityGroupIds", "sg-1")];
    let in_vpc = Template::read().with(&[SELF_MANAGED, &network].concat());
    for (name, stack) in stacks().into_iter().chain([("self-managed in a VPC", in_vpc)]) {
        for (resource, source) in stack.resources("AWS::Lambda::EventSourceMapping") {
            let properties = &source["Properties"];
            let is_self_managed = properties["SelfManagedEventSource"].is_object();
            let accesses = properties["SourceAccessConfigurations"].as_array();
            let has_subnet = accesses.is_some_and(|all| all.iter().any(|access| access["Type"] == "VPC_SUBNET"));
            let is_shared = properties["ProvisionedPollerConfig"]["PollerGroupName"].is_string();
            assert_eq!(has_subnet, name == "self-managed in a VPC", "{resource} with {name}");
            assert_eq!(is_shared, !is_self_managed || has_subnet, "{resource} with {name}");
        }
    }
}

#[test]
fn event_sources_warn_in_the_log() {
    for (name, stack) in stacks() {
        for (resource, source) in stack.resources("AWS::Lambda::EventSourceMapping") {
            let properties = &source["Properties"];
            assert_eq!(properties["LoggingConfig"]["SystemLogLevel"], "WARN", "{resource} with {name}");
        }
    }
}

//! Each function's role grants exactly the calls of [`tests::permitted`], and nothing by another way.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::permitted::{Call, permitted};
use tests::template::{Function, Stack};

use crate::{CA_SECRET, DEAD_LETTERS, KAFKA_SECRET, SECRET_KEY, read_json, stacks};

/// A text, or each of several.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
        value => value.as_str().into_iter().collect(),
    }
}

/// A function's own role.
fn role(stack: &Stack, function: &Function) -> Value {
    let reference = function.properties["Role"].as_str().unwrap();
    let name = reference.trim_start_matches("${").trim_end_matches(".Arn}");
    stack.resources("AWS::IAM::Role").remove(name).unwrap_or_else(|| panic!("{} has no role", function.name))
}

fn statements(policy: &Value) -> &Vec<Value> {
    policy["PolicyDocument"]["Statement"].as_array().unwrap()
}

/// Whether a stack's functions sign in as their roles, so that IAM says what they may do on the cluster.
fn signs_with_iam(stack: &Stack) -> bool {
    stack.function("connect").variables()["KAFKA_SASL_MECHANISM"] == "OAUTHBEARER"
}

/// What stands before a stack's topics in IAM, on whichever cluster: a role connects to one alone.
fn topics(stack: &Stack) -> String {
    let prefix = &stack.function("connect").variables()["KAFKA_TOPIC_PREFIX"];
    format!("arn:aws:kafka:eu-central-1:123456789012:topic/*/{prefix}")
}

/// What a statement of a role grants, on topics with this beginning. Anything else than these three kinds of calls fails.
fn calls<'a>(function: &'a str, topics: &'a str, statement: &'a Value) -> impl Iterator<Item = Call> + 'a {
    let topic = move |resource: &'a str| resource.strip_prefix(topics).unwrap();
    assert_eq!(statement["Effect"], "Allow", "{function}");
    let pairs = texts(&statement["Action"])
        .into_iter()
        .flat_map(|action| texts(&statement["Resource"]).into_iter().map(move |resource| (action, resource)));
    pairs.filter_map(move |(action, resource)| {
        let (on, what) = match action.split_once(':').unwrap() {
            ("dynamodb", operation) => {
                let table = resource.replace("${ChatTable.Arn}", "chat");
                (table.replace("${ConnectionsTable.Arn}", "connections"), operation)
            }
            ("execute-api", "ManageConnections") => {
                let all = "arn:aws:execute-api:eu-central-1:123456789012:${WebSocketApi}/prod/";
                let method = resource.strip_prefix(all).and_then(|rest| rest.strip_suffix("/@connections/*"));
                ("@connections".to_owned(), method.unwrap())
            }
            ("kafka-cluster", "WriteData") => ("topics".to_owned(), topic(resource)),
            ("kafka-cluster", "CreateTopic") => ("topics, made".to_owned(), topic(resource)),
            // Goes with these, and gives nothing away.
            (
                "kafka-cluster",
                "DescribeTopic" | "DescribeTopicDynamicConfiguration" | "DescribeClusterDynamicConfiguration",
            ) => return None,
            _ => panic!("{function} may {action}"),
        };
        assert!(!what.contains('*') && !on.contains('*'), "{function} may {action} on {resource}");
        Some(Call { function: function.to_owned(), on, what: what.to_owned() })
    })
}

#[test]
fn every_function_may_do_exactly_what_it_does() {
    for (name, stack) in stacks() {
        // Who signs in with a secret has its user's rights, of which IAM knows nothing.
        let with_iam = signs_with_iam(&stack);
        let permitted: BTreeSet<Call> =
            permitted().into_iter().filter(|call| with_iam || !call.on.starts_with("topics")).collect();
        let producers: BTreeSet<&str> =
            permitted.iter().filter(|call| call.on == "topics").map(|call| call.function.as_str()).collect();
        let mut granted = BTreeSet::new();
        let topics = topics(&stack);
        for function in stack.functions() {
            let role = role(&stack, &function)["Properties"].take();
            let policies = role["Policies"].as_array().into_iter().flatten();
            granted
                .extend(policies.flat_map(statements).flat_map(|statement| calls(&function.name, &topics, statement)));
            let is_source = function.name == "consumer";
            let is_producer = producers.contains(function.name.as_str());
            let further = ["${EveryFunctionPolicy}"].into_iter();
            let further = further.chain(is_source.then_some("${EventSourcePolicy}"));
            let further: Vec<&str> = further.chain(is_producer.then_some("${ProducerPolicy}")).collect();
            assert_eq!(role["ManagedPolicyArns"], json!(further), "{} with {name}", function.name);
        }
        assert_eq!(granted, permitted, "{name}");
    }
}

#[test]
fn a_role_is_of_one_function() {
    for (_, stack) in stacks() {
        let functions = stack.functions();
        let roles: BTreeSet<&str> =
            functions.iter().map(|function| function.properties["Role"].as_str().unwrap()).collect();
        assert_eq!(roles.len(), functions.len());
        for function in &functions {
            let principal = role(&stack, function)["Properties"]["AssumeRolePolicyDocument"]["Statement"].take();
            let lambda = json!([{
                "Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole",
            }]);
            assert_eq!(principal, lambda, "{}", function.name);
        }
    }
}

/// What a policy that roles share grants: each action on each of its resources.
fn shared(stack: &Stack, policy: &str) -> BTreeSet<(String, String)> {
    let policy = stack.resources("AWS::IAM::ManagedPolicy").remove(policy).unwrap()["Properties"].take();
    let mut granted = BTreeSet::new();
    for statement in statements(&policy) {
        assert_eq!(statement["Effect"], "Allow");
        granted.extend(each(&texts(&statement["Action"]), &texts(&statement["Resource"])));
    }
    granted
}

/// Each of these actions on each of these resources.
fn each<S: AsRef<str>>(actions: &[&str], resources: &[S]) -> BTreeSet<(String, String)> {
    let on =
        |resource: &S| actions.iter().map(|action| ((*action).into(), resource.as_ref().into())).collect::<Vec<_>>();
    resources.iter().flat_map(on).collect()
}

/// The cluster of a stack on MSK. Of a new one only MSK knows the end of its name.
fn cluster(name: &str) -> &'static str {
    match name {
        "msk-serverless" => "arn:aws:kafka:eu-central-1:123456789012:cluster/madang/*",
        _ => "arn:aws:kafka:eu-central-1:123456789012:cluster/chat/abcd1234-abcd-cafe-abab-9876543210ab-4",
    }
}

#[test]
fn what_functions_share_is_logs_network_and_a_connection_to_msk() {
    for (name, stack) in stacks() {
        let mut expected = each(&["logs:CreateLogStream", "logs:PutLogEvents"], &["${FunctionLogs.Arn}"]);
        if name.starts_with("msk") {
            let network = [
                "ec2:AssignPrivateIpAddresses",
                "ec2:CreateNetworkInterface",
                "ec2:DeleteNetworkInterface",
                "ec2:DescribeNetworkInterfaces",
                "ec2:DescribeSubnets",
                "ec2:UnassignPrivateIpAddresses",
            ];
            expected.extend(each(&network, &["*"]));
        }
        if signs_with_iam(&stack) {
            expected.extend(each(&["kafka-cluster:Connect"], &[cluster(name)]));
            let numbered = each(&["kafka-cluster:WriteDataIdempotently"], &[cluster(name)]);
            assert_eq!(shared(&stack, "ProducerPolicy"), numbered, "{name}");
        }
        assert_eq!(shared(&stack, "EveryFunctionPolicy"), expected, "{name}");
    }
}

#[test]
fn event_sources_read_their_topics_in_their_groups_and_their_secrets() {
    let facts = read_json("infra/topics.json");
    for (name, stack) in stacks() {
        let mut expected = BTreeSet::new();
        if name.starts_with("msk") {
            expected.extend(each(&["ec2:DescribeSecurityGroups", "ec2:DescribeVpcs"], &["*"]));
            let msk = ["kafka:DescribeClusterV2", "kafka:GetBootstrapBrokers", "kafka:ListScramSecrets"];
            expected.extend(each(&msk, &[cluster(name)]));
        }
        if signs_with_iam(&stack) {
            let read = facts.as_object().unwrap().keys().filter(|topic| *topic != DEAD_LETTERS);
            let read: Vec<String> = read.map(|topic| format!("{}{topic}", topics(&stack))).collect();
            expected.extend(each(&["kafka-cluster:DescribeTopic", "kafka-cluster:ReadData"], &read));
            let sources = stack.resources("AWS::Lambda::EventSourceMapping").into_values();
            let groups: Vec<String> = sources
                .map(|source| source["Properties"]["AmazonManagedKafkaEventSourceConfig"]["ConsumerGroupId"].clone())
                .map(|group| format!("arn:aws:kafka:eu-central-1:123456789012:group/*/{}", group.as_str().unwrap()))
                .collect();
            expected.extend(each(&["kafka-cluster:AlterGroup", "kafka-cluster:DescribeGroup"], &groups));
            expected.extend(each(&["kafka-cluster:DescribeClusterDynamicConfiguration"], &[cluster(name)]));
        } else {
            let secret = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"];
            expected.extend(each(&secret, &[KAFKA_SECRET]));
        }
        match name {
            "mutual TLS" => expected.extend(each(&["secretsmanager:GetSecretValue"], &[CA_SECRET])),
            "msk" => expected.extend(each(&["kms:Decrypt"], &[SECRET_KEY])),
            _ => {}
        }
        assert_eq!(shared(&stack, "EventSourcePolicy"), expected, "{name}");
    }
}

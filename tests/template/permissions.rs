//! Each function's role grants exactly the calls of [`tests::permitted`], and nothing by another way.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::permitted::{Call, permitted};
use tests::template::{Function, Stack};

use crate::stacks;

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

/// The topic of a resource, on whichever cluster: a role connects to one alone.
fn topic(resource: &str) -> &str {
    resource.strip_prefix("arn:aws:kafka:eu-central-1:123456789012:topic/*/").unwrap()
}

/// What a statement of a role grants. Anything else than these three kinds of calls fails.
fn calls<'a>(function: &'a str, statement: &'a Value) -> impl Iterator<Item = Call> + 'a {
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
            ("kafka-cluster", "DescribeTopic" | "DescribeTopicDynamicConfiguration") => return None,
            _ => panic!("{function} may {action}"),
        };
        assert!(!what.contains('*') && !on.contains('*'), "{function} may {action} on {resource}");
        Some(Call { function: function.to_owned(), on, what: what.to_owned() })
    })
}

#[test]
fn every_function_may_do_exactly_what_it_does() {
    for (name, stack) in stacks() {
        let mut granted = BTreeSet::new();
        for function in stack.functions() {
            let role = role(&stack, &function)["Properties"].take();
            let policies = role["Policies"].as_array().into_iter().flatten();
            granted.extend(policies.flat_map(statements).flat_map(|statement| calls(&function.name, statement)));
            let further = match function.name.as_str() {
                "consumer" => json!(["${EveryFunctionPolicy}", "${EventSourcePolicy}"]),
                _ => json!(["${EveryFunctionPolicy}"]),
            };
            assert_eq!(role["ManagedPolicyArns"], further, "{}", function.name);
        }
        // Other brokers than MSK's know nothing of these rights.
        let expected: BTreeSet<Call> =
            permitted().into_iter().filter(|call| name == "msk-serverless" || !call.on.starts_with("topics")).collect();
        assert_eq!(granted, expected, "{name}");
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

/// What the shared policies grant: the action, and whether it is for one resource.
fn shared(stack: &Stack, policy: &str) -> BTreeSet<(String, bool)> {
    let policy = stack.resources("AWS::IAM::ManagedPolicy").remove(policy).unwrap()["Properties"].take();
    let mut granted = BTreeSet::new();
    for statement in statements(&policy) {
        let is_bound = texts(&statement["Resource"]).iter().all(|resource| *resource != "*");
        granted.extend(texts(&statement["Action"]).into_iter().map(|action| (action.to_owned(), is_bound)));
    }
    granted
}

#[test]
fn what_functions_share_is_logs_network_and_a_connection_to_msk() {
    let logs = ["logs:CreateLogStream", "logs:PutLogEvents"].map(|action| (action, true));
    let network = [
        "ec2:AssignPrivateIpAddresses",
        "ec2:CreateNetworkInterface",
        "ec2:DeleteNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSubnets",
        "ec2:UnassignPrivateIpAddresses",
    ]
    .map(|action| (action, false));
    let cluster = ["kafka-cluster:Connect", "kafka-cluster:WriteDataIdempotently"].map(|action| (action, true));
    let secret = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"].map(|action| (action, true));
    let groups = ["AlterGroup", "DescribeGroup", "DescribeTopic", "ReadData"];
    let groups = groups.map(|action| (format!("kafka-cluster:{action}"), true));
    let msk =
        ["kafka:DescribeClusterV2", "kafka:GetBootstrapBrokers", "kafka:ListScramSecrets"].map(|action| (action, true));
    let source_network = ["ec2:DescribeSecurityGroups", "ec2:DescribeVpcs"].map(|action| (action, false));
    let set = |parts: &[&[(&str, bool)]]| -> BTreeSet<(String, bool)> {
        parts.iter().flat_map(|part| part.iter().map(|(action, bound)| ((*action).to_owned(), *bound))).collect()
    };
    let [self_managed, _, with_msk, serverless] = stacks().map(|(_, stack)| stack);
    assert_eq!(shared(&self_managed, "EveryFunctionPolicy"), set(&[&logs]));
    assert_eq!(shared(&with_msk, "EveryFunctionPolicy"), set(&[&logs, &network]));
    assert_eq!(shared(&serverless, "EveryFunctionPolicy"), set(&[&logs, &network, &cluster]));
    assert_eq!(shared(&self_managed, "EventSourcePolicy"), set(&[&secret]));
    assert_eq!(shared(&with_msk, "EventSourcePolicy"), set(&[&source_network, &msk, &secret]));
    let mut of_serverless = set(&[&source_network, &msk]);
    of_serverless.extend(groups);
    assert_eq!(shared(&serverless, "EventSourcePolicy"), of_serverless);
}

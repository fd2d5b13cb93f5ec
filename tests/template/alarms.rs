//! Every alarm and every widget of the dashboard looks at a metric that the code or AWS emits: its namespace, its name
//! and its dimensions. A wrong one would be silent for ever.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::template::{Stack, Template};

use crate::{SELF_MANAGED, read, read_json};

/// What AWS says that it emits: the namespace, the dimensions, the names.
const OF_AWS: [(&str, &[&str], &[&str]); 3] = [
    ("AWS/Lambda", &["FunctionName"], &["Duration", "Errors", "Invocations", "OffsetLag", "Throttles"]),
    (
        "AWS/ApiGateway",
        &["ApiId", "Stage"],
        &["ClientError", "ConnectCount", "ExecutionError", "IntegrationError", "MessageCount"],
    ),
    (
        "AWS/DynamoDB",
        &["TableName"],
        &["ConsumedReadCapacityUnits", "ConsumedWriteCapacityUnits", "ReadThrottleEvents", "WriteThrottleEvents"],
    ),
];

/// A metric that somebody looks at.
#[derive(Debug)]
struct Watched {
    namespace: String,
    name: String,
    dimensions: Vec<(String, String)>,
}

fn stack() -> Stack {
    Template::read().with(SELF_MANAGED)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// A metric as an alarm names it.
fn of_alarm(metric: &Value) -> Watched {
    let dimensions = metric["Dimensions"].as_array().unwrap();
    Watched {
        namespace: text(&metric["Namespace"]),
        name: text(&metric["MetricName"]),
        dimensions: dimensions.iter().map(|each| (text(&each["Name"]), text(&each["Value"]))).collect(),
    }
}

fn watched_by_alarms(stack: &Stack) -> Vec<Watched> {
    let mut watched = Vec::new();
    for alarm in stack.resources("AWS::CloudWatch::Alarm").values() {
        let properties = &alarm["Properties"];
        match properties["Metrics"].as_array() {
            None => watched.push(of_alarm(properties)),
            Some(queries) => {
                let metrics = queries.iter().map(|query| &query["MetricStat"]["Metric"]).filter(|each| !each.is_null());
                watched.extend(metrics.map(of_alarm));
            }
        }
    }
    watched
}

/// A metric as a widget names it: namespace, name, then each dimension's name and value, perhaps with options at the end.
fn of_widget(metric: &Value) -> Watched {
    let words: Vec<String> = metric.as_array().unwrap().iter().filter(|word| !word.is_object()).map(text).collect();
    let [namespace, name, dimensions @ ..] = words.as_slice() else { panic!("{metric}") };
    let dimensions = dimensions.as_chunks::<2>();
    assert!(dimensions.1.is_empty(), "{metric}");
    Watched {
        namespace: namespace.clone(),
        name: name.clone(),
        dimensions: dimensions.0.iter().map(|[name, value]| (name.clone(), value.clone())).collect(),
    }
}

fn watched_by_widgets(stack: &Stack) -> Vec<Watched> {
    let mut watched = Vec::new();
    for dashboard in stack.resources("AWS::CloudWatch::Dashboard").values() {
        let body: Value = serde_json::from_str(&text(&dashboard["Properties"]["DashboardBody"])).unwrap();
        for widget in body["widgets"].as_array().unwrap() {
            let properties = &widget["properties"];
            assert_eq!(properties["region"], "eu-central-1");
            let metrics = properties["metrics"].as_array().unwrap();
            watched.extend(metrics.iter().map(of_widget));
        }
    }
    watched
}

/// Whether a function counts or measures something of this name.
fn is_counted_by(function: &str, name: &str) -> bool {
    let declared = read_json("infra/figures.json");
    let functions = [&declared["counts"][name], &declared["measures"][name]["functions"]];
    functions.iter().filter_map(|functions| functions.as_array()).flatten().any(|each| *each == function)
}

fn check(stack: &Stack, metric: &Watched) {
    let names: Vec<&str> = metric.dimensions.iter().map(|(name, _)| name.as_str()).collect();
    let function = || {
        let resource = metric.dimensions[0].1.trim_start_matches("${").trim_end_matches('}');
        let functions = stack.functions();
        functions.into_iter().find(|function| function.resource == resource).unwrap_or_else(|| panic!("{metric:?}"))
    };
    if metric.namespace == "Madang" {
        let code = read("common/src/metrics.rs");
        assert!(code.contains(r#""Namespace": "Madang", "Dimensions": [["FunctionName"]]"#));
        assert_eq!(names, ["FunctionName"], "{metric:?}");
        assert!(is_counted_by(&function().name, &metric.name), "no figure of this function: {metric:?}");
        return;
    }
    let emitted = OF_AWS.iter().find(|(namespace, ..)| *namespace == metric.namespace);
    let (_, dimensions, emitted) = emitted.unwrap_or_else(|| panic!("{metric:?}"));
    assert_eq!(names, *dimensions, "{metric:?}");
    assert!(emitted.contains(&metric.name.as_str()), "{metric:?}");
    match metric.namespace.as_str() {
        "AWS/Lambda" => assert!(metric.name != "OffsetLag" || function().name == "consumer", "{metric:?}"),
        "AWS/ApiGateway" => {
            let stage = &stack.resources("AWS::ApiGatewayV2::Stage")["WebSocketStage"]["Properties"];
            assert_eq!([&stage["ApiId"], &stage["StageName"]], [&metric.dimensions[0].1, &metric.dimensions[1].1]);
        }
        _ => {
            let table = metric.dimensions[0].1.trim_start_matches("${").trim_end_matches('}');
            assert!(stack.resources("AWS::DynamoDB::Table").contains_key(table), "{metric:?}");
        }
    }
}

#[test]
fn every_alarm_and_widget_looks_at_what_is_emitted() {
    let stack = stack();
    let watched: Vec<Watched> = watched_by_alarms(&stack).into_iter().chain(watched_by_widgets(&stack)).collect();
    assert!(watched.len() > 50, "this test finds them: {}", watched.len());
    watched.iter().for_each(|metric| check(&stack, metric));
}

#[test]
fn every_trouble_has_an_alarm() {
    let stack = stack();
    let watched = watched_by_alarms(&stack);
    let names: BTreeSet<&str> = watched.iter().map(|metric| metric.name.as_str()).collect();
    let expected = ["DeadLetters", "DeliveryLatency", "Errors", "Lagged", "OffsetLag", "Throttles"];
    assert_eq!(names, BTreeSet::from(expected));
    for name in ["Errors", "Throttles"] {
        let of_name = watched.iter().filter(|metric| metric.name == name);
        let functions: BTreeSet<&str> = of_name.map(|metric| metric.dimensions[0].1.as_str()).collect();
        let all: Vec<String> = stack.functions().iter().map(|each| format!("${{{}}}", each.resource)).collect();
        assert_eq!(functions, all.iter().map(String::as_str).collect(), "{name}");
    }
    let latency = &stack.resources("AWS::CloudWatch::Alarm")["DeliveryLatencyAlarm"]["Properties"];
    assert_eq!(latency["ExtendedStatistic"], "p99");
}

#[test]
fn the_dashboard_shows_every_figure_of_a_message() {
    let watched = watched_by_widgets(&stack());
    let shown: BTreeSet<&str> = watched.iter().map(|metric| metric.name.as_str()).collect();
    for name in [
        "Accepted",
        "Committed",
        "Duplicates",
        "Nacks",
        "DeadLetters",
        "Posts",
        "Gone",
        "Lagged",
        "DeliveryLatency",
        "CommitBatchSize",
    ] {
        assert!(shown.contains(name), "{name}");
    }
}

#[test]
fn alarms_tell_the_topic_and_nobody_unless_there_is_one() {
    let topic = "arn:aws:sns:eu-central-1:123456789012:on-call";
    for (parameters, expected) in [(SELF_MANAGED, Value::Null), (&told(topic), json!([topic]))] {
        for (name, alarm) in Template::read().with(parameters).resources("AWS::CloudWatch::Alarm") {
            let properties = &alarm["Properties"];
            assert_eq!(properties["AlarmActions"], expected, "{name}");
            // Whoever says nothing has no latency.
            assert_eq!(properties["TreatMissingData"], "notBreaching", "{name}");
        }
    }
}

fn told(topic: &'static str) -> Vec<(&'static str, &'static str)> {
    [SELF_MANAGED, &[("AlarmTopicArn", topic)]].concat()
}

//! Every function that there is, is deployed, and nothing else.

use serde_json::json;

use crate::{names_in, read, read_json, stacks};

/// API Gateway's longest wait for a function, in seconds.
const GATEWAY_TIMEOUT_S: u64 = 29;
/// The longest timeout of a function that a Kafka event source invokes, in seconds.
const EVENT_SOURCE_TIMEOUT_S: u64 = 14 * 60;

#[test]
fn every_crate_is_a_function_and_every_function_a_crate() {
    for (name, stack) in stacks() {
        let mut deployed: Vec<String> = stack.functions().into_iter().map(|function| function.name).collect();
        deployed.sort();
        assert_eq!(deployed, names_in("functions"), "{name}");
    }
}

#[test]
fn every_function_is_built_by_cargo_lambda_as_the_binary_of_its_package() {
    let (_, stack) = stacks().into_iter().next().unwrap();
    for function in stack.functions() {
        let name = &function.name;
        assert_eq!(function.metadata["BuildMethod"], "rust-cargolambda", "{name}");
        let properties = &function.properties;
        assert_eq!(properties["CodeUri"], "..", "{name}: the workspace's root");
        assert_eq!(properties["Runtime"], "provided.al2023", "{name}");
        assert_eq!(properties["Handler"], "bootstrap", "{name}");
        assert_eq!(properties["Architectures"], json!(["x86_64"]), "{name}");
        let manifest = read(&format!("functions/{name}/Cargo.toml"));
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}: the package has another name");
        assert!(!manifest.contains("[[bin]]"), "{name}: its binary has the package's name");
        assert!(read(&format!("functions/{name}/src/main.rs")).contains("fn main()"), "{name}: nothing to run");
    }
}

#[test]
fn no_function_is_waited_for_less_than_it_may_take() {
    let (_, stack) = stacks().into_iter().next().unwrap();
    for function in stack.functions() {
        let timeout_s = function.properties["Timeout"].as_u64().unwrap();
        let most = match function.name.as_str() {
            "connect" | "message" | "disconnect" | "api" => GATEWAY_TIMEOUT_S,
            _ => EVENT_SOURCE_TIMEOUT_S,
        };
        assert!(timeout_s < most, "{}: {timeout_s} s", function.name);
    }
}

/// What takes too long there takes too long here. The local runtime has no provision: it makes its topics itself.
#[test]
fn the_local_runtime_waits_for_a_function_as_long_as_the_stack() {
    let local = read("infra/local/src/stack.rs");
    for (name, stack) in stacks() {
        for function in stack.functions().iter().filter(|function| function.name != "provision") {
            let limits = format!("(\"{}\", {}, ", function.name, function.properties["Timeout"]);
            assert!(local.contains(&limits), "{name}: no {limits}…) in stack.rs");
        }
    }
}

/// A limit of the code's own, in seconds.
fn limit_s(path: &str, name: &str) -> u64 {
    let text = read(path);
    let rest = text.split(&format!("const {name}: Duration = Duration::from_secs(")).nth(1).unwrap();
    rest.split(')').next().unwrap().parse().unwrap()
}

/// What takes too long is then an answer of its own, with a sentence, and not the end of the function.
#[test]
fn provision_may_take_as_long_as_its_limits_together() {
    let answer_s = limit_s("infra/topics/src/cluster.rs", "ANSWER_LIMIT");
    let leaders_s = limit_s("infra/topics/src/cluster.rs", "LEADERS_LIMIT");
    let topics = u64::try_from(read_json("infra/topics.json").as_object().unwrap().len()).unwrap();
    // What there is, what it keeps, what is made. With two questions each: how that may be lost, what the brokers give to
    // what is made, how this may be lost. Of each topic, the leaders, asked for once more at the limit's end.
    let kafka_s = (3 + 3 * 2) * answer_s + topics * (leaders_s + answer_s);
    let cloud_formation_s = limit_s("functions/provision/src/handler.rs", "ANSWER_TIMEOUT");
    for (name, stack) in stacks() {
        let timeout_s = stack.function("provision").properties["Timeout"].as_u64().unwrap();
        assert!(timeout_s > kafka_s + cloud_formation_s, "{name}: {timeout_s} s");
    }
}

//! Every route leads to its function, which may be invoked by it; the WebSocket's answers come back; and nothing that
//! may hold a token or name a user is logged.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tests::template::{Stack, Template};

use crate::{SELF_MANAGED, stacks};

/// A stack; they do not differ in their routes.
fn stack() -> Stack {
    Template::read().with(SELF_MANAGED)
}

/// The routes of an API: the key, and the function that its integration invokes.
fn routes(stack: &Stack, api: &str) -> BTreeMap<String, String> {
    let integrations = stack.resources("AWS::ApiGatewayV2::Integration");
    let permissions = stack.resources("AWS::Lambda::Permission");
    let functions = stack.functions();
    let mut routes = BTreeMap::new();
    for route in stack.resources("AWS::ApiGatewayV2::Route").values() {
        let route = &route["Properties"];
        if route["ApiId"] != api {
            continue;
        }
        let key = route["RouteKey"].as_str().unwrap();
        let target = route["Target"].as_str().unwrap();
        let integration = target.trim_start_matches("integrations/${").trim_end_matches('}');
        let integration = &integrations[integration]["Properties"];
        assert_eq!((&integration["ApiId"], &integration["IntegrationType"]), (&route["ApiId"], &json!("AWS_PROXY")));
        let uri = integration["IntegrationUri"].as_str().unwrap();
        let function =
            functions.iter().find(|function| uri.contains(&format!("${{{}.Arn}}", function.resource))).unwrap();
        let may_be_invoked = permissions.values().any(|permission| {
            let permission = &permission["Properties"];
            permission["FunctionName"] == format!("${{{}}}", function.resource)
                && permission["Principal"] == "apigateway.amazonaws.com"
                && permission["Action"] == "lambda:InvokeFunction"
                && permission["SourceArn"].as_str().unwrap().ends_with(&format!(":{api}/*/{key}"))
        });
        assert!(may_be_invoked, "{key} may not invoke {}", function.name);
        assert!(routes.insert(key.to_owned(), function.name.clone()).is_none(), "{key} stands there twice");
    }
    routes
}

#[test]
fn every_route_leads_to_its_function() {
    let expected = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, function)| ((*key).to_owned(), (*function).to_owned())).collect()
    };
    let websocket = [("$connect", "connect"), ("$default", "message"), ("$disconnect", "disconnect")];
    assert_eq!(routes(&stack(), "${WebSocketApi}"), expected(&websocket));
    assert_eq!(routes(&stack(), "${HttpApi}"), expected(&[("$default", "api")]));
}

#[test]
fn only_the_messages_route_answers() {
    let stack = stack();
    let routes = stack.resources("AWS::ApiGatewayV2::Route");
    let answering: Vec<&String> = routes
        .iter()
        .filter(|(_, route)| route["Properties"]["RouteResponseSelectionExpression"] == "$default")
        .map(|(name, _)| name)
        .collect();
    assert_eq!(answering, ["DefaultRoute"]);
    let responses: Vec<Value> = stack.resources("AWS::ApiGatewayV2::RouteResponse").into_values().collect();
    let properties = json!({"ApiId": "${WebSocketApi}", "RouteId": "${DefaultRoute}", "RouteResponseKey": "$default"});
    assert_eq!(responses.iter().map(|response| &response["Properties"]).collect::<Vec<_>>(), [&properties]);
}

#[test]
fn the_apis_are_a_websocket_and_one_without_cors_of_its_own() {
    let apis = stack().resources("AWS::ApiGatewayV2::Api");
    let kinds: BTreeMap<&str, &Value> =
        apis.iter().map(|(name, api)| (name.as_str(), &api["Properties"]["ProtocolType"])).collect();
    assert_eq!(kinds, BTreeMap::from([("HttpApi", &json!("HTTP")), ("WebSocketApi", &json!("WEBSOCKET"))]));
    // Every frame to $default, whatever it says.
    assert_eq!(apis["WebSocketApi"]["Properties"]["RouteSelectionExpression"], "\\$default");
    assert_eq!(apis["HttpApi"]["Properties"]["CorsConfiguration"], Value::Null);
    let integration = &stack().resources("AWS::ApiGatewayV2::Integration")["HttpIntegration"]["Properties"];
    assert_eq!(integration["PayloadFormatVersion"], "2.0");
}

#[test]
fn both_stages_are_throttled_and_log_nothing_private() {
    let stages = stack().resources("AWS::ApiGatewayV2::Stage");
    assert_eq!(stages.len(), 2);
    for (name, stage) in stages {
        let properties = &stage["Properties"];
        let settings = &properties["DefaultRouteSettings"];
        assert_eq!(
            (&settings["ThrottlingRateLimit"], &settings["ThrottlingBurstLimit"]),
            (&json!("2000"), &json!("1000"))
        );
        assert_ne!(settings["DataTraceEnabled"], true, "{name}");
        let log = &properties["AccessLogSettings"];
        let group = "arn:aws:logs:eu-central-1:123456789012:log-group:${AccessLogs}";
        assert_eq!(log["DestinationArn"], group, "{name}");
        let format = log["Format"].as_str().unwrap();
        let line: BTreeMap<String, String> =
            serde_json::from_str(format).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(format.contains("$context.requestId"), "{name}: API Gateway asks for it");
        for value in line.values().map(|value| value.to_lowercase()) {
            // Where tokens, texts and the ids of users would be.
            for held in ["query", "header", "body", "authorizer", "requestoverride", "path", "identity"] {
                assert!(!value.contains(held), "{name}: {value}");
            }
        }
    }
}

#[test]
fn functions_post_to_the_stage_that_clients_connect_to() {
    for (_, stack) in stacks() {
        let stage = stack.resources("AWS::ApiGatewayV2::Stage")["WebSocketStage"]["Properties"]["StageName"].clone();
        let expected =
            format!("https://${{WebSocketApi}}.execute-api.eu-central-1.amazonaws.com/{}", stage.as_str().unwrap());
        for name in ["connect", "message", "consumer", "sweeper"] {
            assert_eq!(stack.function(name).variables()["MANAGEMENT_ENDPOINT"], expected, "{name}");
        }
    }
}

#[test]
fn the_sweeper_runs_every_minute() {
    let sweeper = stack().function("sweeper");
    let event = &sweeper.properties["Events"]["Minute"];
    assert_eq!((&event["Type"], &event["Properties"]["Schedule"]), (&json!("Schedule"), &json!("rate(1 minute)")));
}

/// API Gateway refuses a tag with any other letter, such as an apostrophe.
#[test]
fn tags_have_letters_that_api_gateway_takes() {
    let template = Template::read();
    let is_legal = |letter: char| letter.is_ascii_alphanumeric() || " .:+=@_/-".contains(letter);
    for role in ["create", "keep"] {
        let stage = template.with(&[("GatewayLogRole", role)]).resources("AWS::ApiGatewayV2::Stage");
        let tags = stage.values().filter_map(|stage| stage["Properties"]["Tags"].as_object()).flatten();
        let values: Vec<&str> = tags.map(|(_, value)| value.as_str().unwrap()).collect();
        assert!(!values.is_empty());
        for value in values {
            // A resource's own name is no text of ours.
            assert!(value.starts_with("${") || value.chars().all(is_legal), "{role}: {value}");
        }
    }
}

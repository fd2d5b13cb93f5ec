//! Every function gets the settings that it reads, and no others. What it reads is taken from the code: the settings'
//! module names the variables of each group, and a function's sources name the groups.

use std::collections::{BTreeMap, BTreeSet};

use crate::{CA_SECRET, CACHE_SECRET, JWT_SECRET, KAFKA_SECRET, OTLP_SECRET, names_in, read, repository, stacks};

/// What Lambda itself sets.
const OF_LAMBDA: [&str; 6] = [
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_LOG_LEVEL",
    "AWS_REGION",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
];
/// What a stack has no use for: the tables are the region's own, and the key of a client's certificate is safe in its
/// secret without a password.
const LEFT_OUT: [&str; 2] = ["AWS_ENDPOINT_URL_DYNAMODB", "KAFKA_SSL_KEY_PASSWORD"];

/// The text of each type and function of the settings' module, by its name.
fn groups() -> BTreeMap<String, String> {
    let mut groups: BTreeMap<String, String> = BTreeMap::new();
    let mut current = None;
    let sources: Vec<String> = sources();
    for line in sources.iter().flat_map(|source| source.split("#[cfg(test)]").next().unwrap().lines()) {
        let head = line.trim_start_matches("pub ").trim_start_matches("const ");
        let name = head.strip_prefix("impl ").or_else(|| head.strip_prefix("fn "));
        if let Some(name) = name.filter(|_| !line.starts_with(' ')) {
            let end = name.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(name.len());
            current = Some(name.split_at(end).0.to_owned());
        }
        if let Some(name) = &current {
            groups.entry(name.clone()).or_default().push_str(line);
        }
        if line == "}" {
            current = None;
        }
    }
    groups
}

/// The settings' module: its file, and those below it.
fn sources() -> Vec<String> {
    let below = repository("common/src/config").is_dir().then(|| names_in("common/src/config"));
    let below = below.into_iter().flatten().map(|file| format!("common/src/config/{file}"));
    ["common/src/config.rs".to_owned()].into_iter().chain(below).map(|path| read(&path)).collect()
}

/// Whether a text makes a group of the environment: `Group::new(environment)`, or `group(…, environment, …)`.
fn makes(text: &str, group: &str) -> bool {
    let call = format!(" {group}(");
    let mut arguments = text.split(&call).skip(1).filter_map(|rest| rest.split(')').next());
    text.contains(&format!("{group}::new(environment")) || arguments.any(|list| list.contains("environment"))
}

/// The variables that a group reads, and those that it reads through other groups.
fn variables(groups: &BTreeMap<String, String>, name: &str) -> BTreeSet<String> {
    let text = &groups[name];
    let mut found = BTreeSet::new();
    for before in ["required(\"", "optional(\"", "flag(\"", "url(\"", "environment, \""] {
        let names = text.split(before).skip(1).filter_map(|rest| rest.split('"').next());
        found.extend(names.map(str::to_owned));
    }
    for other in groups.keys().filter(|other| *other != name && *other != "Environment") {
        if makes(text, other) {
            found.extend(variables(groups, other));
        }
    }
    found
}

/// The names that a function takes from the settings' module, itself or by starting as a function.
fn names_of(function: &str) -> BTreeSet<String> {
    let folder = format!("functions/{function}/src");
    // What stands in a folder is tests.
    let files = names_in(&folder).into_iter().filter(|name| name.ends_with(".rs"));
    let sources = files.map(|file| read(&format!("{folder}/{file}")));
    let mut names = BTreeSet::new();
    for source in sources.chain([read("common/src/function.rs")]) {
        let lists = source.split("::config::{").skip(1).filter_map(|rest| rest.split('}').next());
        names.extend(lists.flat_map(|list| list.split(',')).map(|name| name.trim().to_owned()));
    }
    names
}

#[test]
fn every_function_gets_exactly_the_settings_that_it_reads() {
    let groups = groups();
    let set_elsewhere: BTreeSet<String> = OF_LAMBDA.iter().chain(&LEFT_OUT).map(ToString::to_string).collect();
    let mut all = set_elsewhere.clone();
    for (name, stack) in stacks() {
        for function in stack.functions() {
            let names = names_of(&function.name);
            let named = groups.keys().filter(|group| names.contains(*group) && *group != "Environment");
            let read: BTreeSet<String> = named.flat_map(|group| variables(&groups, group)).collect();
            let wanted: BTreeSet<String> = read.difference(&set_elsewhere).cloned().collect();
            let set: BTreeSet<String> = function.variables().into_keys().collect();
            assert_eq!(set, wanted, "{} with {name}", function.name);
            all.extend(read);
        }
    }
    let known: BTreeSet<String> = groups.keys().flat_map(|group| variables(&groups, group)).collect();
    assert_eq!(all, known, "a setting that no function reads");
    assert!(known.len() > 25, "this test finds the settings: {known:?}");
}

#[test]
fn the_level_of_the_log_is_lambdas_own_setting() {
    assert!(names_of("connect").contains("log_level"));
    for (_, stack) in stacks() {
        for function in stack.functions() {
            let logging = &function.properties["LoggingConfig"];
            // Lambda sets the variable only where the format is JSON.
            assert_eq!((&logging["LogFormat"], &logging["ApplicationLogLevel"]), (&"JSON".into(), &"INFO".into()));
        }
    }
}

/// The settings that are secrets, each with the secret that it is read from, in a stack that is given one, and the member
/// there that it is; without one it is the whole.
const SECRETS: [(&str, &str, &str); 9] = [
    ("CACHE_URL", CACHE_SECRET, ""),
    ("CURSOR_KEY", "${CursorKeySecret}", ""),
    ("JWT_KEY", JWT_SECRET, ""),
    ("KAFKA_SASL_PASSWORD", KAFKA_SECRET, ":SecretString:password"),
    ("KAFKA_SASL_USERNAME", KAFKA_SECRET, ":SecretString:username"),
    ("KAFKA_SSL_CA_PEM", CA_SECRET, ":SecretString:certificate"),
    ("KAFKA_SSL_CERTIFICATE_PEM", KAFKA_SECRET, ":SecretString:certificate"),
    ("KAFKA_SSL_KEY_PEM", KAFKA_SECRET, ":SecretString:privateKey"),
    ("OTEL_EXPORTER_OTLP_HEADERS", OTLP_SECRET, ":SecretString:headers"),
];

#[test]
fn every_secret_is_a_reference_to_its_own() {
    let mut seen = BTreeSet::new();
    for (name, stack) in stacks() {
        for function in stack.functions() {
            for (variable, value) in function.variables() {
                let Some((variable, secret, member)) = SECRETS.into_iter().find(|(secret, ..)| *secret == variable)
                else {
                    assert!(!value.contains("{{resolve:"), "{variable} of {} with {name} is a secret", function.name);
                    continue;
                };
                // The stack makes this key, where it is given none.
                let made = variable == "JWT_KEY" && name != "msk";
                let secret = if made { "${JwtKeySecret}" } else { secret };
                let reference = format!("{{{{resolve:secretsmanager:{secret}{member}}}}}");
                assert!(value.is_empty() || value == reference, "{variable} of {} with {name}: {value}", function.name);
                seen.extend((!value.is_empty() && !made).then_some(variable));
            }
        }
    }
    assert_eq!(seen, SECRETS.map(|(variable, ..)| variable).into(), "each is set in some stack");
}

/// What a variable holds when it is deployed, as far as its length goes. Certificates are of P-256 keys: such ones, with
/// short names, have some 680 bytes, and the key 227.
fn deployed(variable: &str, value: &str) -> String {
    let lines = |bytes: usize| format!("{}\n", "a".repeat(64)).repeat(bytes.div_ceil(65));
    match variable {
        "KAFKA_SSL_CERTIFICATE_PEM" => lines(2 * 750),
        "KAFKA_SSL_CA_PEM" => lines(750),
        "KAFKA_SSL_KEY_PEM" => lines(241),
        "KAFKA_BOOTSTRAP_SERVERS" => ["broker-1.kafka.example.com:9094"; 3].join(","),
        "JWT_KEY" | "CURSOR_KEY" => "a".repeat(64),
        // madang-ConnectionsTable-, and 13 letters.
        "CHAT_TABLE" | "CONNECTIONS_TABLE" => "a".repeat(40),
        _ => value.to_owned(),
    }
}

/// Lambda's limit for all variables of a function, counted here as the JSON that they are sent as.
const ENVIRONMENT_BYTES: usize = 4096;

#[test]
fn certificates_fit_into_the_environment() {
    let (name, stack) = stacks().into_iter().find(|(name, _)| *name == "mutual TLS").unwrap();
    for function in stack.functions() {
        let variables = function.variables().into_iter().map(|(variable, value)| {
            let value = deployed(&variable, &value);
            (variable, value)
        });
        let length = serde_json::to_string(&variables.collect::<BTreeMap<_, _>>()).unwrap().len();
        assert!(length < ENVIRONMENT_BYTES, "{} with {name}: {length} bytes", function.name);
    }
}

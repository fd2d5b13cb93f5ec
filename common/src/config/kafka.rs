//! How Kafka is reached: addresses, security, and what our topics are called there.
//!
//! | cluster | `KAFKA_SECURITY_PROTOCOL` | `KAFKA_SASL_MECHANISM` | beside it |
//! |---|---|---|---|
//! | on a developer's machine | `PLAINTEXT` | | |
//! | MSK, self-managed | `SASL_SSL` | `SCRAM-SHA-512` or `SCRAM-SHA-256` | user name and password |
//! | Confluent Cloud, Event Hubs | `SASL_SSL` | `PLAIN` | user name and password |
//! | MSK with IAM | `SASL_SSL` | `OAUTHBEARER` | nothing: the function signs with the role that Lambda gives it |
//! | mutual TLS | `SSL` | | client certificate and its key |
//!
//! Certificates come as PEM text, since a function has variables and no files of its own. Without an authority of the
//! cluster's own the system's list of authorities holds.

use std::collections::HashMap;

use rdkafka::ClientConfig;
use topics::{Care, Scale, Topic};

use super::{ConfigError, Environment};
use crate::kafka_client::KafkaContext;

/// The longest prefix. Source: Lambda's limit for an event source's consumer group, whose name begins with it. (For a
/// topic Kafka takes 249.)
const TOPIC_PREFIX_MAX_BYTES: usize = 200;

/// Those that take a user's name and password.
const MECHANISMS: [&str; 3] = ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"];

/// How to reach Kafka. Without `Debug`: the client's own shows the key of a certificate.
#[derive(Clone)]
pub struct KafkaConfig {
    /// What every client of librdkafka needs.
    pub client: ClientConfig,
    /// What every client of librdkafka calls back.
    pub context: KafkaContext,
    /// How many partitions each topic has, by our own name of it. The number is configured, not asked for, so that a
    /// stale answer never sends a room to two partitions.
    pub partitions: HashMap<String, i32>,
    /// What stands before our names of the topics on this cluster.
    pub topic_prefix: TopicPrefix,
    /// Nothing new is let in, so that partitions can be raised: `INGRESS_CLOSED`, `false` unless set.
    pub ingress_closed: bool,
}

/// What stands before our names of the topics, so that several installations can share a cluster: `KAFKA_TOPIC_PREFIX`,
/// nothing unless set. Only what goes to Kafka or comes from there has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicPrefix(String);

impl TopicPrefix {
    fn new(environment: &Environment) -> Result<Self, ConfigError> {
        let prefix = environment.optional("KAFKA_TOPIC_PREFIX").unwrap_or_default();
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if prefix.bytes().all(is_legal) && prefix.len() <= TOPIC_PREFIX_MAX_BYTES {
            Ok(Self(prefix.to_owned()))
        } else {
            Err(ConfigError::invalid("KAFKA_TOPIC_PREFIX", "of letters, digits, '.', '_' and '-', at most 200"))
        }
    }

    /// The name of one of our topics on the cluster.
    #[must_use]
    pub fn with(&self, topic: &str) -> String {
        format!("{}{topic}", self.0)
    }

    /// Our name of a topic on the cluster; one that is not ours keeps its own.
    #[must_use]
    pub fn without<'a>(&self, name: &'a str) -> &'a str {
        name.strip_prefix(&self.0).unwrap_or(name)
    }
}

/// `KAFKA_TOPICS`: what is done about the topics before anything reads them; `make` unless set.
///
/// # Errors
/// There is no such care.
pub fn topic_care(environment: &Environment) -> Result<Care, ConfigError> {
    let care = environment.optional("KAFKA_TOPICS").map_or(Ok(Care::default()), str::parse);
    care.map_err(|_| ConfigError::invalid("KAFKA_TOPICS", topics::CARES))
}

impl KafkaConfig {
    /// From the environment: `KAFKA_BOOTSTRAP_SERVERS`, `KAFKA_SECURITY_PROTOCOL` (`SASL_SSL` unless set),
    /// `KAFKA_SASL_MECHANISM`, `KAFKA_SASL_USERNAME`, `KAFKA_SASL_PASSWORD`, `KAFKA_SSL_CA_PEM`,
    /// `KAFKA_SSL_CERTIFICATE_PEM`, `KAFKA_SSL_KEY_PEM`, `KAFKA_SSL_KEY_PASSWORD`, `KAFKA_TOPIC_PREFIX`,
    /// `KAFKA_PARTITIONS` (`topic:count` separated by commas, where they differ from `infra/topics.json`),
    /// `INGRESS_CLOSED`, and `AWS_LAMBDA_FUNCTION_NAME` where it is set.
    ///
    /// # Errors
    /// A variable is not set, or holds something else.
    pub fn new(environment: &Environment) -> Result<Self, ConfigError> {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", environment.required("KAFKA_BOOTSTRAP_SERVERS")?);
        // By this name brokers know a function in their logs and quotas; the tests do, too.
        if let Some(name) = environment.optional("AWS_LAMBDA_FUNCTION_NAME") {
            client.set("client.id", name);
        }
        let protocol = environment.optional("KAFKA_SECURITY_PROTOCOL").unwrap_or("SASL_SSL");
        client.set("security.protocol", protocol);
        let mut context = KafkaContext::default();
        match protocol {
            "PLAINTEXT" => {}
            "SSL" => encrypt(&mut client, environment)?,
            "SASL_SSL" => {
                context = sign_in(&mut client, environment)?;
                encrypt(&mut client, environment)?;
            }
            _ => return Err(ConfigError::invalid("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT, SSL or SASL_SSL")),
        }
        Ok(Self {
            client,
            context,
            partitions: partitions(environment)?,
            topic_prefix: TopicPrefix::new(environment)?,
            ingress_closed: environment.flag("INGRESS_CLOSED")?,
        })
    }

    /// The declared topics as this installation has them: by their names on its cluster, with its partitions.
    #[must_use]
    pub fn topics(&self) -> Vec<Topic> {
        let on_cluster = |topic: Topic| Topic {
            partitions: self.partitions.get(&topic.name).copied().unwrap_or(topic.partitions),
            name: self.topic_prefix.with(&topic.name),
            ..topic
        };
        topics::declared(Scale::Production).into_iter().map(on_cluster).collect()
    }
}

fn sign_in(client: &mut ClientConfig, environment: &Environment) -> Result<KafkaContext, ConfigError> {
    let mechanism = environment.required("KAFKA_SASL_MECHANISM")?;
    client.set("sasl.mechanism", mechanism);
    if mechanism == "OAUTHBEARER" {
        return sign_tokens(environment);
    }
    if !MECHANISMS.contains(&mechanism) {
        let expected = "SCRAM-SHA-512, SCRAM-SHA-256, PLAIN or OAUTHBEARER";
        return Err(ConfigError::invalid("KAFKA_SASL_MECHANISM", expected));
    }
    client.set("sasl.username", environment.required("KAFKA_SASL_USERNAME")?);
    client.set("sasl.password", environment.required("KAFKA_SASL_PASSWORD")?);
    Ok(KafkaContext::default())
}

#[cfg(feature = "msk-iam")]
fn sign_tokens(environment: &Environment) -> Result<KafkaContext, ConfigError> {
    let signer = crate::msk_iam::TokenSigner::new(super::AwsConfig::new(environment)?);
    Ok(KafkaContext::with_tokens(signer))
}

#[cfg(not(feature = "msk-iam"))]
fn sign_tokens(_: &Environment) -> Result<KafkaContext, ConfigError> {
    Err(ConfigError::invalid(
        "KAFKA_SASL_MECHANISM",
        "SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN, and OAUTHBEARER needs a build with the feature msk-iam",
    ))
}

fn encrypt(client: &mut ClientConfig, environment: &Environment) -> Result<(), ConfigError> {
    match pem(environment, "KAFKA_SSL_CA_PEM")? {
        Some(authorities) => client.set("ssl.ca.pem", authorities),
        // OpenSSL is part of the binary, and its own default is a directory that no system has.
        None => client.set("ssl.ca.location", "probe"),
    };
    let certificate = pem(environment, "KAFKA_SSL_CERTIFICATE_PEM")?;
    let key = pem(environment, "KAFKA_SSL_KEY_PEM")?;
    if key.is_some_and(|key| !PKCS8.iter().any(|label| key.trim_start().starts_with(label))) {
        return Err(ConfigError::invalid("KAFKA_SSL_KEY_PEM", "a key in PKCS #8, as `openssl pkcs8 -topk8` writes it"));
    }
    match (certificate, key) {
        (None, None) => return Ok(()),
        (Some(certificate), Some(key)) => client.set("ssl.certificate.pem", certificate).set("ssl.key.pem", key),
        (None, Some(_)) => return Err(ConfigError::Missing("KAFKA_SSL_CERTIFICATE_PEM")),
        (Some(_), None) => return Err(ConfigError::Missing("KAFKA_SSL_KEY_PEM")),
    };
    if let Some(password) = environment.optional("KAFKA_SSL_KEY_PASSWORD") {
        client.set("ssl.key.password", password);
    }
    Ok(())
}

/// How a key begins that event sources take, too: with another one nothing would be read, and only they would know.
const PKCS8: [&str; 2] = ["-----BEGIN PRIVATE KEY-----", "-----BEGIN ENCRYPTED PRIVATE KEY-----"];

/// A certificate or key. A path, or text whose line breaks were lost, would only be found by the client, which does not
/// know the variable.
fn pem<'a>(environment: &'a Environment, name: &'static str) -> Result<Option<&'a str>, ConfigError> {
    let text = environment.optional(name);
    let is_pem = |text: &str| text.trim_start().starts_with("-----BEGIN ") && text.trim_end().lines().count() > 2;
    match text {
        Some(text) if !is_pem(text) => Err(ConfigError::invalid(name, "the text of a PEM file, with its line breaks")),
        text => Ok(text),
    }
}

fn partitions(environment: &Environment) -> Result<HashMap<String, i32>, ConfigError> {
    let declared = topics::declared(Scale::Production).into_iter();
    let mut partitions: HashMap<String, i32> = declared.map(|topic| (topic.name, topic.partitions)).collect();
    for entry in
        environment.optional("KAFKA_PARTITIONS").unwrap_or_default().split(',').filter(|entry| !entry.is_empty())
    {
        let invalid = ConfigError::invalid("KAFKA_PARTITIONS", "a list like chat-messages:12,chat-presence:6");
        let (topic, count) = entry.trim().split_once(':').ok_or(invalid)?;
        let invalid = ConfigError::invalid("KAFKA_PARTITIONS", "a list of our topics with at least one partition each");
        let count = count.parse().ok().filter(|count| *count > 0);
        match (partitions.get_mut(topic), count) {
            (Some(partitions), Some(count)) => *partitions = count,
            _ => return Err(invalid),
        }
    }
    Ok(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n";
    const SCRAM: [(&str, &str); 5] = [
        ("KAFKA_BOOTSTRAP_SERVERS", "one:9096,two:9096"),
        ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL"),
        ("KAFKA_SASL_MECHANISM", "SCRAM-SHA-512"),
        ("KAFKA_SASL_USERNAME", "madang"),
        ("KAFKA_SASL_PASSWORD", "secret"),
    ];
    const MTLS: [(&str, &str); 4] = [
        ("KAFKA_BOOTSTRAP_SERVERS", "one:9094"),
        ("KAFKA_SECURITY_PROTOCOL", "SSL"),
        ("KAFKA_SSL_CERTIFICATE_PEM", PEM),
        ("KAFKA_SSL_KEY_PEM", KEY),
    ];

    /// What librdkafka is told of these properties.
    fn check(pairs: &[(&str, &str)], expected: &[(&str, Option<&str>)]) {
        let client = KafkaConfig::new(&Environment::of_pairs(pairs)).unwrap_or_else(|error| panic!("{error}")).client;
        for (property, value) in expected {
            assert_eq!(client.get(property), *value, "{property}");
        }
    }

    fn refused(pairs: &[(&str, &str)], sentence: &str) {
        let error = KafkaConfig::new(&Environment::of_pairs(pairs)).err();
        assert_eq!(error.map(|error| error.to_string()).as_deref(), Some(sentence));
    }

    /// The pairs, some of them set to something else.
    fn changed<'a>(pairs: &[(&'a str, &'a str)], changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        pairs.iter().chain(changes).copied().collect()
    }

    #[test]
    fn every_way_to_sign_in_is_a_matter_of_variables() {
        let scram = [
            ("security.protocol", Some("SASL_SSL")),
            ("sasl.mechanism", Some("SCRAM-SHA-512")),
            ("sasl.username", Some("madang")),
            ("sasl.password", Some("secret")),
            ("ssl.ca.pem", None),
            ("ssl.ca.location", Some("probe")),
        ];
        check(&SCRAM, &scram);
        // It is the default, so that a forgotten variable never leads to an open connection.
        check(&changed(&SCRAM, &[("KAFKA_SECURITY_PROTOCOL", "")]), &scram);
        check(&changed(&SCRAM, &[("KAFKA_SASL_MECHANISM", "PLAIN")]), &[("sasl.mechanism", Some("PLAIN"))]);
        let own_authority = [("ssl.ca.pem", Some(PEM)), ("ssl.ca.location", None)];
        check(&changed(&SCRAM, &[("KAFKA_SSL_CA_PEM", PEM)]), &own_authority);
        let mtls = [("security.protocol", Some("SSL")), ("ssl.certificate.pem", Some(PEM)), ("ssl.key.pem", Some(KEY))];
        check(&MTLS, &mtls);
        let password = [("ssl.key.password", Some("secret"))];
        check(&changed(&MTLS, &[("KAFKA_SSL_KEY_PASSWORD", "secret")]), &password);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        refused(
            &[],
            "the environment variable KAFKA_BOOTSTRAP_SERVERS is not set: it holds host:port of the brokers, separated by commas",
        );
        for (name, _) in SCRAM {
            if name != "KAFKA_SECURITY_PROTOCOL" {
                let sentence = ConfigError::Missing(name).to_string();
                refused(&changed(&SCRAM, &[(name, "")]), &sentence);
            }
        }
        for name in ["KAFKA_SSL_CERTIFICATE_PEM", "KAFKA_SSL_KEY_PEM"] {
            refused(&changed(&MTLS, &[(name, "")]), &ConfigError::Missing(name).to_string());
        }
        let other = KEY.replace("PRIVATE", "EC PRIVATE");
        let sentence =
            "the environment variable KAFKA_SSL_KEY_PEM is not a key in PKCS #8, as `openssl pkcs8 -topk8` writes it";
        refused(&changed(&MTLS, &[("KAFKA_SSL_KEY_PEM", &other)]), sentence);
        for (name, value, expected) in [
            ("KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT", "PLAINTEXT, SSL or SASL_SSL"),
            ("KAFKA_SASL_MECHANISM", "GSSAPI", "SCRAM-SHA-512, SCRAM-SHA-256, PLAIN or OAUTHBEARER"),
            ("KAFKA_SSL_CA_PEM", "/etc/ssl/ca.pem", "the text of a PEM file, with its line breaks"),
            ("KAFKA_SSL_CA_PEM", &PEM.replace('\n', " "), "the text of a PEM file, with its line breaks"),
            ("KAFKA_TOPIC_PREFIX", "a b", "of letters, digits, '.', '_' and '-', at most 200"),
        ] {
            let sentence = format!("the environment variable {name} is not {expected}");
            refused(&changed(&SCRAM, &[(name, value)]), &sentence);
        }
    }

    #[cfg(feature = "msk-iam")]
    #[test]
    fn a_role_of_iam_needs_no_more_than_what_lambda_sets() {
        use rdkafka::ClientContext as _;

        let role = [
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("KAFKA_BOOTSTRAP_SERVERS", "one:9098"),
            ("KAFKA_SASL_MECHANISM", "OAUTHBEARER"),
        ];
        check(&role, &[("sasl.mechanism", Some("OAUTHBEARER")), ("sasl.username", None), ("sasl.password", None)]);
        let context = |pairs| KafkaConfig::new(&Environment::of_pairs(pairs)).unwrap().context;
        assert!(context(&role).generate_oauth_token(None).is_ok());
        assert!(context(&SCRAM).generate_oauth_token(None).is_err(), "nobody asks for one");
        refused(
            &changed(&role, &[("AWS_REGION", "")]),
            "the environment variable AWS_REGION is not set: it holds the region, set by Lambda itself",
        );
    }

    #[cfg(not(feature = "msk-iam"))]
    #[test]
    fn a_build_that_signs_no_tokens_says_so() {
        refused(
            &changed(&SCRAM, &[("KAFKA_SASL_MECHANISM", "OAUTHBEARER")]),
            "the environment variable KAFKA_SASL_MECHANISM is not SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN, and \
             OAUTHBEARER needs a build with the feature msk-iam",
        );
    }

    #[test]
    fn a_prefix_stands_before_our_topics_on_the_cluster_alone() {
        let prefix = |prefix| TopicPrefix::new(&Environment::of_pairs(&[("KAFKA_TOPIC_PREFIX", prefix)])).unwrap();
        assert_eq!(prefix("").with("chat-messages"), "chat-messages");
        let stage = prefix("stage.");
        assert_eq!(stage.with("chat-messages"), "stage.chat-messages");
        assert_eq!(stage.without("stage.chat-messages"), "chat-messages");
        assert_eq!(stage.without("chat-messages"), "chat-messages");
    }

    #[test]
    fn topics_have_their_names_on_the_cluster_and_the_configured_partitions() {
        let pairs = changed(&SCRAM, &[("KAFKA_TOPIC_PREFIX", "stage."), ("KAFKA_PARTITIONS", "chat-presence:2")]);
        let topics = KafkaConfig::new(&Environment::of_pairs(&pairs)).unwrap().topics();
        let topics: Vec<_> = topics.iter().map(|topic| (topic.name.as_str(), topic.partitions)).collect();
        let expected = [
            ("stage.chat-messages", 12),
            ("stage.chat-messages-dlt", 12),
            ("stage.chat-presence", 2),
            ("stage.chat-read-events", 6),
        ];
        assert_eq!(topics, expected);
    }

    #[test]
    fn what_is_done_about_topics_is_a_name_or_nothing() {
        let care = |value| topic_care(&Environment::of_pairs(&[("KAFKA_TOPICS", value)]));
        assert_eq!((care(""), care("verify")), (Ok(Care::Make), Ok(Care::Verify)));
        let sentence = "the environment variable KAFKA_TOPICS is not make, make-without-segments or verify";
        assert_eq!(care("Verify").map_err(|error| error.to_string()), Err(sentence.to_owned()));
    }

    #[test]
    fn partitions_come_from_the_data_file_unless_set() {
        let count = |pairs: &[(&str, &str)]| partitions(&Environment::of_pairs(pairs)).map(|map| map["chat-messages"]);
        assert_eq!(count(&[]), Ok(12));
        assert_eq!(count(&[("KAFKA_PARTITIONS", "chat-messages:3,chat-presence:3")]), Ok(3));
        for odd in ["chat-messages", "chat-messages:0", "chat-messages:x", "other:3"] {
            assert!(count(&[("KAFKA_PARTITIONS", odd)]).is_err(), "{odd}");
        }
    }
}

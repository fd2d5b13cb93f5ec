//! How a Kafka cluster is reached: addresses, security and names of topics, as the functions know them.
//!
//! The names of the settings are those of the functions' own environment, so that one set of variables reaches the
//! same cluster from both sides. Where the functions may not make topics somebody else does: the operator, by the same
//! names with `OPERATOR_` before them.

use rdkafka::ClientConfig;
use rdkafka::consumer::DefaultConsumerContext;
use topics::{Care, Scale, Topic, TopicError};

/// What stands before the names of the operator's settings.
const OPERATOR: &str = "OPERATOR_";
/// What a user signs in with: property, variable.
const USER: [(&str, &str); 2] = [("sasl.username", "KAFKA_SASL_USERNAME"), ("sasl.password", "KAFKA_SASL_PASSWORD")];
/// PEM texts that encryption can have: property, variable.
const CERTIFICATES: [(&str, &str); 3] = [
    ("ssl.ca.pem", "KAFKA_SSL_CA_PEM"),
    ("ssl.certificate.pem", "KAFKA_SSL_CERTIFICATE_PEM"),
    ("ssl.key.pem", "KAFKA_SSL_KEY_PEM"),
];

/// A Kafka cluster, how its clients sign in, and our topics on it.
#[derive(Clone)]
pub(crate) struct Kafka {
    bootstrap_servers: String,
    client: ClientConfig,
    operator: ClientConfig,
    care: Care,
    topic_prefix: String,
    partitions: Vec<(String, i32)>,
    variables: Vec<(&'static str, String)>,
}

/// A setting that leads to no cluster.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KafkaSettingError {
    /// A setting that the security protocol needs is missing.
    #[error("{0} is not set, but KAFKA_SECURITY_PROTOCOL=SASL_SSL needs it")]
    Missing(&'static str),
    /// Nobody can read for the functions.
    #[error(
        "OPERATOR_KAFKA_BOOTSTRAP_SERVERS is not set, but KAFKA_SASL_MECHANISM=OAUTHBEARER needs it: the functions sign \
         tokens, and this runtime signs none"
    )]
    NoOperator,
    /// A setting holds something else.
    #[error("{0} is not {1}")]
    Invalid(&'static str, &'static str),
}

impl Kafka {
    /// A cluster on this machine, without encryption or sign-in.
    pub(crate) fn plaintext(bootstrap_servers: impl Into<String>) -> Self {
        Self::new(bootstrap_servers.into(), "PLAINTEXT")
    }

    /// The cluster that the environment names, `None` without `KAFKA_BOOTSTRAP_SERVERS`.
    ///
    /// Reads `KAFKA_SECURITY_PROTOCOL` (`PLAINTEXT` unless set, since this is the local runtime; the functions' own
    /// default is `SASL_SSL`), and everything that the functions read beside it; then the same of the operator, who is
    /// the functions' user unless set. The topics are read as the functions' user, as the platform does, but where that
    /// takes tokens as the operator.
    ///
    /// # Errors
    /// As [`KafkaSettingError`] says.
    pub(crate) fn from_environment(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, KafkaSettingError> {
        let Some(mut kafka) = Self::read(&variable)? else { return Ok(None) };
        let operator = Self::read(&|name: &str| variable(&format!("{OPERATOR}{name}")))?;
        let takes_tokens = kafka.client.get("sasl.mechanism") == Some("OAUTHBEARER");
        match operator {
            None if takes_tokens => return Err(KafkaSettingError::NoOperator),
            None => kafka.operator = kafka.client.clone(),
            Some(operator) => kafka.operator = operator.client,
        }
        if takes_tokens {
            kafka.client = kafka.operator.clone();
        }
        let care = variable("KAFKA_TOPICS").map_or(Ok(Care::default()), |name| name.parse());
        kafka.care = care.map_err(|_| KafkaSettingError::Invalid("KAFKA_TOPICS", topics::CARES))?;
        Ok(Some(kafka))
    }

    /// A cluster and whoever signs in there.
    fn read(variable: &impl Fn(&str) -> Option<String>) -> Result<Option<Self>, KafkaSettingError> {
        let Some(bootstrap_servers) = variable("KAFKA_BOOTSTRAP_SERVERS") else { return Ok(None) };
        let protocol = variable("KAFKA_SECURITY_PROTOCOL").unwrap_or_else(|| "PLAINTEXT".into());
        let mut kafka = Self::new(bootstrap_servers, &protocol);
        match protocol.as_str() {
            "PLAINTEXT" => {}
            "SSL" => kafka.encrypt(variable)?,
            "SASL_SSL" => {
                kafka.sign_in(variable)?;
                kafka.encrypt(variable)?;
            }
            _ => return Err(KafkaSettingError::Invalid("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT, SSL or SASL_SSL")),
        }
        if let Some(prefix) = variable("KAFKA_TOPIC_PREFIX") {
            kafka.variables.push(("KAFKA_TOPIC_PREFIX", prefix.clone()));
            kafka.topic_prefix = prefix;
        }
        if let Some(list) = variable("KAFKA_PARTITIONS") {
            kafka.partitions = partitions(&list)?;
        }
        Ok(Some(kafka))
    }

    /// Makes the topics, or looks for them, as the operator; then looks for them as whoever reads them, so that a user
    /// who is set wrongly is told as that, and at once.
    ///
    /// # Errors
    /// They are not as declared, or one of the two does not reach them.
    pub(crate) async fn see_to_topics(&self) -> Result<(), TopicError> {
        // What one machine may lose is told by whoever makes a cluster ready for more: `admin topics apply`.
        topics::see_to(self.care, &self.operator, &DefaultConsumerContext, self.topics(), |_| {}).await?;
        topics::look_for(&self.client, &DefaultConsumerContext, &self.topics()).await
    }

    /// `host:port` of the brokers to start from, joined by commas.
    pub(crate) fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// The properties that every client of this cluster starts from.
    pub(crate) fn client(&self) -> ClientConfig {
        self.client.clone()
    }

    /// The environment by which a function reaches the same cluster, and counts its partitions.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let counts: Vec<String> =
            self.our_topics().iter().map(|topic| format!("{}:{}", topic.name, topic.partitions)).collect();
        self.variables.iter().cloned().chain([("KAFKA_PARTITIONS", counts.join(","))]).collect()
    }

    /// The name of one of our topics on this cluster.
    pub(crate) fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.topic_prefix)
    }

    /// Our topics, as they should be on this cluster.
    pub(crate) fn topics(&self) -> Vec<Topic> {
        self.our_topics().into_iter().map(|topic| Topic { name: self.topic(&topic.name), ..topic }).collect()
    }

    /// Our topics by our own names, with the partitions of this cluster: the local number unless set.
    fn our_topics(&self) -> Vec<Topic> {
        let mut topics = topics::declared(Scale::Local);
        for topic in &mut topics {
            let set = self.partitions.iter().find(|(name, _)| *name == topic.name);
            topic.partitions = set.map_or(topic.partitions, |(_, count)| *count);
        }
        topics
    }

    fn new(bootstrap_servers: String, protocol: &str) -> Self {
        let mut client = ClientConfig::new();
        client.set("log.connection.close", "false").set("enable.metrics.push", "false");
        let mut kafka = Self {
            bootstrap_servers: bootstrap_servers.clone(),
            client,
            operator: ClientConfig::new(),
            care: Care::Make,
            topic_prefix: String::new(),
            partitions: Vec::new(),
            variables: Vec::new(),
        };
        kafka.set("bootstrap.servers", "KAFKA_BOOTSTRAP_SERVERS", bootstrap_servers);
        kafka.set("security.protocol", "KAFKA_SECURITY_PROTOCOL", protocol.into());
        kafka
    }

    fn sign_in(&mut self, variable: &impl Fn(&str) -> Option<String>) -> Result<(), KafkaSettingError> {
        let required = |name| variable(name).ok_or(KafkaSettingError::Missing(name));
        let mechanism = required("KAFKA_SASL_MECHANISM")?;
        // A token is signed with what Lambda gives a function.
        let has_user = mechanism != "OAUTHBEARER";
        self.set("sasl.mechanism", "KAFKA_SASL_MECHANISM", mechanism);
        for (property, name) in USER.into_iter().filter(|_| has_user) {
            self.set(property, name, required(name)?);
        }
        Ok(())
    }

    fn encrypt(&mut self, variable: &impl Fn(&str) -> Option<String>) -> Result<(), KafkaSettingError> {
        // OpenSSL is part of the binary, and its own default for authorities is a directory that no system has.
        if variable("KAFKA_SSL_CA_PEM").is_none() {
            self.client.set("ssl.ca.location", "probe");
        }
        for (property, name) in CERTIFICATES {
            match variable(name) {
                Some(text) if text.trim().lines().count() > 2 => self.set(property, name, text),
                Some(_) => {
                    return Err(KafkaSettingError::Invalid(name, "the text of a PEM file, with its line breaks"));
                }
                None => {}
            }
        }
        if let Some(password) = variable("KAFKA_SSL_KEY_PASSWORD") {
            self.set("ssl.key.password", "KAFKA_SSL_KEY_PASSWORD", password);
        }
        Ok(())
    }

    fn set(&mut self, property: &str, variable: &'static str, value: String) {
        self.client.set(property, &value);
        self.variables.push((variable, value));
    }
}

/// Reads `topic:count` separated by commas.
fn partitions(list: &str) -> Result<Vec<(String, i32)>, KafkaSettingError> {
    let invalid = || KafkaSettingError::Invalid("KAFKA_PARTITIONS", "a list like chat-messages:12,chat-presence:6");
    let entry = |entry: &str| {
        let (topic, count) = entry.trim().split_once(':').ok_or_else(invalid)?;
        let count = count.parse().ok().filter(|count| *count > 0).ok_or_else(invalid)?;
        Ok((topic.to_owned(), count))
    };
    list.split(',').map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    const LOCAL_PARTITIONS: &str = "chat-messages:3,chat-messages-dlt:3,chat-presence:3,chat-read-events:3";
    const SCRAM: [(&str, &str); 6] = [
        ("KAFKA_BOOTSTRAP_SERVERS", "one:9093"),
        ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL"),
        ("KAFKA_SASL_MECHANISM", "SCRAM-SHA-512"),
        ("KAFKA_SASL_USERNAME", "madang"),
        ("KAFKA_SASL_PASSWORD", "secret"),
        ("KAFKA_SSL_CA_PEM", PEM),
    ];
    const MTLS: [(&str, &str); 5] = [
        ("KAFKA_BOOTSTRAP_SERVERS", "one:9094"),
        ("KAFKA_SECURITY_PROTOCOL", "SSL"),
        ("KAFKA_SSL_CERTIFICATE_PEM", PEM),
        ("KAFKA_SSL_KEY_PEM", PEM),
        ("KAFKA_SSL_KEY_PASSWORD", "secret"),
    ];

    fn read(pairs: &[(&str, &str)]) -> Result<Option<Kafka>, KafkaSettingError> {
        // The last one counts.
        let find = |name: &str| pairs.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| (*value).into());
        Kafka::from_environment(find)
    }

    /// Every setting reaches the functions as it came, and the client under its own name.
    fn check(pairs: &[(&str, &str)], properties: &[(&str, Option<&str>)]) {
        let kafka = read(pairs).unwrap().unwrap();
        let told = pairs.iter().chain([&("KAFKA_PARTITIONS", LOCAL_PARTITIONS)]);
        let told: Vec<(&str, String)> = told.map(|(name, value)| (*name, (*value).to_owned())).collect();
        assert_eq!(kafka.variables(), told);
        for (property, value) in properties {
            assert_eq!(kafka.client().get(property), *value, "{property}");
        }
    }

    #[test]
    fn the_environment_names_the_cluster_and_its_security() {
        assert!(read(&[]).unwrap().is_none());
        let plain = read(&[("KAFKA_BOOTSTRAP_SERVERS", "one:9092,two:9092")]).unwrap().unwrap();
        assert_eq!(plain.bootstrap_servers(), "one:9092,two:9092");
        // The functions' own default is another one, so that it is always told.
        assert!(plain.variables().contains(&("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT".to_owned())));
        check(&SCRAM, &[("sasl.mechanism", Some("SCRAM-SHA-512")), ("ssl.ca.pem", Some(PEM))]);
        check(&SCRAM[..5], &[("sasl.password", Some("secret")), ("ssl.ca.location", Some("probe"))]);
        check(&MTLS, &[("ssl.certificate.pem", Some(PEM)), ("ssl.key.pem", Some(PEM)), ("sasl.username", None)]);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let refused = |pairs: &[(&str, &str)], sentence: &str| {
            assert_eq!(read(pairs).err().map(|error| error.to_string()).as_deref(), Some(sentence));
        };
        let sentence = "KAFKA_SASL_PASSWORD is not set, but KAFKA_SECURITY_PROTOCOL=SASL_SSL needs it";
        refused(&SCRAM[..4], sentence);
        for (name, value, expected) in [
            ("KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT", "PLAINTEXT, SSL or SASL_SSL"),
            ("KAFKA_SSL_CA_PEM", "/etc/ssl/ca.pem", "the text of a PEM file, with its line breaks"),
            ("KAFKA_PARTITIONS", "chat-messages:0", "a list like chat-messages:12,chat-presence:6"),
        ] {
            let pairs: Vec<_> = SCRAM.into_iter().chain([(name, value)]).collect();
            refused(&pairs, &format!("{name} is not {expected}"));
        }
    }

    #[test]
    fn topics_are_made_by_the_operator_and_read_by_the_functions_user() {
        let operator = [("OPERATOR_KAFKA_BOOTSTRAP_SERVERS", "one:9096"), ("OPERATOR_KAFKA_SECURITY_PROTOCOL", "SSL")];
        let of_both = |functions: &[(&str, &str)]| read(&[functions, &operator].concat()).unwrap().unwrap();
        let with_user = of_both(&SCRAM);
        assert_eq!(with_user.operator.get("security.protocol"), Some("SSL"));
        assert_eq!(with_user.operator.get("sasl.username"), None, "nothing of the functions' user is mixed in");
        assert_eq!(with_user.client().get("sasl.username"), Some("madang"));
        assert_eq!(read(&SCRAM).unwrap().unwrap().operator.get("sasl.username"), Some("madang"));
        let tokens = [
            ("KAFKA_BOOTSTRAP_SERVERS", "one:9098"),
            ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL"),
            ("KAFKA_SASL_MECHANISM", "OAUTHBEARER"),
        ];
        let with_tokens = of_both(&tokens);
        assert_eq!(with_tokens.client().get("bootstrap.servers"), Some("one:9096"), "this runtime signs no tokens");
        assert!(with_tokens.variables().contains(&("KAFKA_SASL_MECHANISM", "OAUTHBEARER".to_owned())));
        assert_eq!(read(&tokens).err(), Some(KafkaSettingError::NoOperator));
    }

    #[test]
    fn topics_have_the_names_and_partitions_of_the_cluster() {
        let settings = [
            ("KAFKA_BOOTSTRAP_SERVERS", "one:9092"),
            ("KAFKA_TOPIC_PREFIX", "stage."),
            ("KAFKA_PARTITIONS", "chat-messages:6"),
        ];
        let kafka = read(&settings).unwrap().unwrap();
        assert_eq!(kafka.topic("chat-presence"), "stage.chat-presence");
        let topics: Vec<(String, i32)> =
            kafka.topics().into_iter().map(|topic| (topic.name, topic.partitions)).collect();
        assert!(topics.contains(&("stage.chat-messages".into(), 6)), "{topics:?}");
        assert!(topics.contains(&("stage.chat-presence".into(), 3)), "{topics:?}");
        // The functions know the topics by our own names, and the prefix beside them.
        let counts = LOCAL_PARTITIONS.replace("chat-messages:3", "chat-messages:6");
        for told in [("KAFKA_TOPIC_PREFIX", "stage.".to_owned()), ("KAFKA_PARTITIONS", counts)] {
            assert!(kafka.variables().contains(&told), "{:?}", kafka.variables());
        }
    }
}

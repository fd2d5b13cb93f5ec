//! How a Kafka cluster is reached: addresses and security, as the functions know them.
//!
//! The names of the settings are those of the functions' own environment, so that one set of variables reaches the
//! same cluster from both sides.

use rdkafka::ClientConfig;

/// A Kafka cluster and how its clients sign in.
#[derive(Clone)]
pub(crate) struct Kafka {
    bootstrap_servers: String,
    client: ClientConfig,
    variables: Vec<(&'static str, String)>,
}

/// A setting that leads to no cluster.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KafkaSettingError {
    /// A setting that the security protocol needs is missing.
    #[error("{0} is not set, but KAFKA_SECURITY_PROTOCOL=SASL_SSL needs it")]
    Missing(&'static str),
    /// The security protocol is none that the functions know.
    #[error("KAFKA_SECURITY_PROTOCOL is not PLAINTEXT, SSL or SASL_SSL")]
    Protocol,
}

impl Kafka {
    /// A cluster on this machine, without encryption or sign-in.
    pub(crate) fn plaintext(bootstrap_servers: impl Into<String>) -> Self {
        Self::new(bootstrap_servers.into(), "PLAINTEXT")
    }

    /// The cluster that the environment names, `None` without `KAFKA_BOOTSTRAP_SERVERS`.
    ///
    /// Reads `KAFKA_SECURITY_PROTOCOL` (`PLAINTEXT` unless set, since this is the local runtime; the functions' own
    /// default is `SASL_SSL`), for `SASL_SSL` `KAFKA_SASL_MECHANISM`, `KAFKA_SASL_USERNAME` and `KAFKA_SASL_PASSWORD`,
    /// and `KAFKA_SSL_CA_PEM`.
    ///
    /// # Errors
    /// As [`KafkaSettingError`] says.
    pub(crate) fn from_environment(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, KafkaSettingError> {
        let Some(bootstrap_servers) = variable("KAFKA_BOOTSTRAP_SERVERS") else { return Ok(None) };
        let protocol = variable("KAFKA_SECURITY_PROTOCOL").unwrap_or_else(|| "PLAINTEXT".into());
        let mut kafka = Self::new(bootstrap_servers, &protocol);
        match protocol.as_str() {
            "PLAINTEXT" | "SSL" => {}
            "SASL_SSL" => {
                for (property, name) in [
                    ("sasl.mechanism", "KAFKA_SASL_MECHANISM"),
                    ("sasl.username", "KAFKA_SASL_USERNAME"),
                    ("sasl.password", "KAFKA_SASL_PASSWORD"),
                ] {
                    kafka.set(property, name, variable(name).ok_or(KafkaSettingError::Missing(name))?);
                }
            }
            _ => return Err(KafkaSettingError::Protocol),
        }
        if let Some(authorities) = variable("KAFKA_SSL_CA_PEM") {
            kafka.set("ssl.ca.pem", "KAFKA_SSL_CA_PEM", authorities);
        }
        Ok(Some(kafka))
    }

    /// `host:port` of the brokers to start from, joined by commas.
    pub(crate) fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// The properties that every client of this cluster starts from.
    pub(crate) fn client(&self) -> ClientConfig {
        self.client.clone()
    }

    /// The environment by which a function reaches the same cluster.
    pub(crate) fn variables(&self) -> &[(&'static str, String)] {
        &self.variables
    }

    fn new(bootstrap_servers: String, protocol: &str) -> Self {
        let mut client = ClientConfig::new();
        client.set("log.connection.close", "false").set("enable.metrics.push", "false");
        let mut kafka = Self { bootstrap_servers: bootstrap_servers.clone(), client, variables: Vec::new() };
        kafka.set("bootstrap.servers", "KAFKA_BOOTSTRAP_SERVERS", bootstrap_servers);
        kafka.set("security.protocol", "KAFKA_SECURITY_PROTOCOL", protocol.into());
        kafka
    }

    fn set(&mut self, property: &str, variable: &'static str, value: String) {
        self.client.set(property, &value);
        self.variables.push((variable, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Option<Kafka>, KafkaSettingError> {
        Kafka::from_environment(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into()))
    }

    #[test]
    fn the_environment_names_the_cluster_and_its_security() {
        assert!(read(&[]).unwrap().is_none());
        let plain = read(&[("KAFKA_BOOTSTRAP_SERVERS", "one:9092,two:9092")]).unwrap().unwrap();
        assert_eq!(plain.bootstrap_servers(), "one:9092,two:9092");
        assert_eq!(plain.client().get("security.protocol"), Some("PLAINTEXT"));
        // The functions' own default is another one, so that it is always told.
        let told = [("KAFKA_BOOTSTRAP_SERVERS", "one:9092,two:9092"), ("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT")];
        assert_eq!(plain.variables(), told.map(|(name, value)| (name, value.to_owned())));
        let scram = [
            ("KAFKA_BOOTSTRAP_SERVERS", "one:9093"),
            ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL"),
            ("KAFKA_SASL_MECHANISM", "SCRAM-SHA-512"),
            ("KAFKA_SASL_USERNAME", "madang"),
            ("KAFKA_SASL_PASSWORD", "secret"),
        ];
        let kafka = read(&scram).unwrap().unwrap();
        assert_eq!(kafka.variables(), scram.map(|(name, value)| (name, value.to_owned())));
        let client = kafka.client();
        assert_eq!(client.get("sasl.mechanism"), Some("SCRAM-SHA-512"));
        assert_eq!(client.get("sasl.password"), Some("secret"));
        assert_eq!(read(&scram[..4]).err(), Some(KafkaSettingError::Missing("KAFKA_SASL_PASSWORD")));
        let odd = [("KAFKA_BOOTSTRAP_SERVERS", "one:9093"), ("KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT")];
        assert_eq!(read(&odd).err(), Some(KafkaSettingError::Protocol));
    }
}

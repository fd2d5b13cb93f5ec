//! What an operator looks at when a client of Kafka does not get on: the sentences of the functions, the command line and
//! the local runtime alike. Each names the settings by which the client signs in, and no others.

use rdkafka::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;

/// By what a client shows who it is.
enum Proof {
    Password,
    Token,
    /// A certificate, or nothing.
    Certificate,
}

impl Proof {
    fn of(client: &ClientConfig) -> Self {
        match client.get("sasl.mechanism") {
            Some("OAUTHBEARER") => Self::Token,
            Some(_) => Self::Password,
            None => Self::Certificate,
        }
    }
}

/// Which setting to look at when this client or a broker says so, if one may be to blame.
#[must_use]
pub fn advice(client: &ClientConfig, code: RDKafkaErrorCode) -> Option<&'static str> {
    use RDKafkaErrorCode as Code;
    match code {
        Code::Authentication | Code::SaslAuthenticationFailed => Some(refused(&Proof::of(client))),
        Code::SSL => Some(
            "no safe connection to the brokers: KAFKA_SSL_CA_PEM must vouch for their certificates, and they must take \
             KAFKA_SSL_CERTIFICATE_PEM where it is set",
        ),
        Code::Resolve | Code::BrokerTransportFailure | Code::AllBrokersDown => Some(unanswered(&Proof::of(client))),
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => Some(
            "a topic, or a partition of it, is missing: `admin topics apply` makes them, with the KAFKA_TOPIC_PREFIX and \
             KAFKA_PARTITIONS that are set here",
        ),
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => Some(forbidden(&Proof::of(client))),
        _ => None,
    }
}

/// The same, only for a client that is not let in.
#[must_use]
pub fn entry_advice(client: &ClientConfig, code: RDKafkaErrorCode) -> Option<&'static str> {
    matches!(code, RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL).then(|| advice(client, code)).flatten()
}

/// The brokers do not believe who it is.
const fn refused(proof: &Proof) -> &'static str {
    match proof {
        Proof::Password => {
            "the brokers refuse KAFKA_SASL_USERNAME with KAFKA_SASL_PASSWORD by KAFKA_SASL_MECHANISM: set all three as \
             the cluster knows them"
        }
        // Ports: MSK developer guide, "Port information".
        Proof::Token => {
            "the brokers refuse a token by KAFKA_SASL_MECHANISM=OAUTHBEARER: the role of AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY must have kafka-cluster:Connect, AWS_REGION be the cluster's, and \
             KAFKA_BOOTSTRAP_SERVERS name its port for IAM (9098 on MSK, 9198 from outside)"
        }
        Proof::Certificate => "the brokers want a sign-in: set KAFKA_SECURITY_PROTOCOL as their listener has it",
    }
}

/// Nobody answers, or whoever does hangs up: a broker that does not take a client's certificate does, too.
const fn unanswered(proof: &Proof) -> &'static str {
    match proof {
        Proof::Password | Proof::Token => {
            "no broker answers: KAFKA_BOOTSTRAP_SERVERS must name brokers within reach, and KAFKA_SECURITY_PROTOCOL be \
             theirs"
        }
        Proof::Certificate => {
            "no broker answers: KAFKA_BOOTSTRAP_SERVERS must name brokers within reach, KAFKA_SECURITY_PROTOCOL be \
             theirs, and they must know who has signed KAFKA_SSL_CERTIFICATE_PEM where they want one"
        }
    }
}

/// The brokers know who it is, and do not let them.
const fn forbidden(proof: &Proof) -> &'static str {
    match proof {
        Proof::Password => "KAFKA_SASL_USERNAME may not write a topic: the cluster must let it",
        Proof::Token => {
            "the role of AWS_ACCESS_KEY_ID may not write a topic: it must have kafka-cluster:DescribeTopic and \
             kafka-cluster:WriteData on each, and kafka-cluster:WriteDataIdempotently on the cluster"
        }
        Proof::Certificate => {
            "the subject of KAFKA_SSL_CERTIFICATE_PEM, or whoever shows none, may not write a topic: the cluster must \
             let them"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the sentences for a client with this mechanism name, and what they must not.
    fn check(mechanism: Option<&str>, own: &str, others: &[&str]) {
        let client = mechanism.map(|mechanism| ("sasl.mechanism".to_owned(), mechanism.to_owned()));
        let client: ClientConfig = client.into_iter().collect();
        let said = |code| advice(&client, code).unwrap();
        assert!(said(RDKafkaErrorCode::TopicAuthorizationFailed).contains(own), "{own}");
        for code in [
            RDKafkaErrorCode::Authentication,
            RDKafkaErrorCode::BrokerTransportFailure,
            RDKafkaErrorCode::TopicAuthorizationFailed,
        ] {
            let foreign = others.iter().find(|other| said(code).contains(**other));
            assert_eq!(foreign, None, "{code:?}: {}", said(code));
        }
    }

    /// A sentence for somebody who signs in otherwise sends the operator to a setting that is not there.
    #[test]
    fn only_what_the_client_has_is_named() {
        check(Some("SCRAM-SHA-512"), "KAFKA_SASL_USERNAME", &["AWS_", "CERTIFICATE"]);
        check(Some("PLAIN"), "KAFKA_SASL_USERNAME", &["AWS_", "CERTIFICATE"]);
        let others = ["KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD", "CERTIFICATE"];
        check(Some("OAUTHBEARER"), "AWS_ACCESS_KEY_ID", &others);
        check(None, "KAFKA_SSL_CERTIFICATE_PEM", &["KAFKA_SASL", "AWS_"]);
    }
}

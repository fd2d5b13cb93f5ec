//! The rules: parameters that do not go together are refused before anything is made.

use tests::template::Template;

use crate::{KAFKA_SECRET, MSK, MSK_IAM, MSK_SERVERLESS, SELF_MANAGED, stacks};

/// The objections to a way with further parameters.
fn objections(way: &[(&str, &str)], further: &[(&str, &str)]) -> Vec<String> {
    let stack = Template::read().with(&[way, further].concat());
    stack.objections().into_iter().map(str::to_owned).collect()
}

#[test]
fn nothing_is_said_against_the_ways_to_kafka() {
    for (name, stack) in stacks() {
        assert!(stack.objections().is_empty(), "{name}: {:?}", stack.objections());
    }
}

#[test]
fn a_network_is_subnets_and_groups() {
    for (way, sentence) in [
        (SELF_MANAGED, "SubnetIds need SecurityGroupIds"),
        (MSK, "MSK needs SubnetIds and SecurityGroupIds"),
        (MSK_SERVERLESS, "MSK Serverless needs SubnetIds and SecurityGroupIds"),
    ] {
        let said = objections(way, &[("SubnetIds", "subnet-1,subnet-2"), ("SecurityGroupIds", "")]);
        assert!(said.iter().any(|said| said == sentence), "{said:?}");
    }
    assert!(objections(SELF_MANAGED, &[("SubnetIds", "")]).is_empty());
}

#[test]
fn a_cluster_of_msk_is_signed_in_to_as_it_allows() {
    let sentence = "MSK takes SCRAM-SHA-512 and mTLS, and without KafkaSecretArn its own IAM";
    for authentication in ["SCRAM-SHA-256", "PLAIN"] {
        assert_eq!(objections(MSK, &[("KafkaAuthentication", authentication)]), [sentence]);
        assert!(objections(SELF_MANAGED, &[("KafkaAuthentication", authentication)]).is_empty());
    }
    for authentication in ["SCRAM-SHA-512", "mTLS"] {
        assert!(objections(MSK, &[("KafkaAuthentication", authentication)]).is_empty());
    }
    assert!(objections(MSK_IAM, &[]).is_empty());
    let sentence = "MSK Serverless knows only IAM, so no KafkaSecretArn";
    assert_eq!(objections(MSK_SERVERLESS, &[("KafkaSecretArn", KAFKA_SECRET)]), [sentence]);
}

//! MSK's IAM, as far as it goes without MSK: brokers that compute the signature of each token again, and give each
//! connection a short session. Needs `infra/kafka/run --listener iam`.

use std::sync::atomic::Ordering;

use tests::Runtime;
use tests::cluster::{Brokers, with_own_topics};
use tests::deadline::eventually;

use crate::talk::{Progress, Talk};
use crate::topics::refused;
use crate::turn;

/// How often the functions' connections sign in once more while people talk.
const SESSIONS: usize = 5;
const SIGNED_IN_AGAIN: &str = "Beginning re-authentication";
const TAKEN: &str = "madang: a token was taken";

#[tokio::test]
async fn connections_sign_in_again_while_people_talk_and_nobody_notices() {
    let _turn = turn().await;
    let brokers = Brokers::of_this_run();
    let (before, taken) = (brokers.log_lines_with(SIGNED_IN_AGAIN), brokers.log_lines_with(TAKEN));
    let madang = Runtime::start::<&str>(&[]);
    let mut talk = Talk::begin(&madang).await;
    let progress = Progress::default();
    let sessions = async {
        eventually("connections that sign in again", async || {
            (brokers.log_lines_with(SIGNED_IN_AGAIN) >= before + SESSIONS).then_some(())
        })
        .await;
        progress.is_over.store(true, Ordering::Relaxed);
    };
    let (said, ()) = tokio::join!(talk.go_on(&progress), sessions);
    talk.check(said).await;
    let refused = progress.refused.load(Ordering::Relaxed);
    assert_eq!(refused, 0, "a session's end is no failure of a record");
    assert!(brokers.log_lines_with(TAKEN) > taken + SESSIONS, "every sign-in shows a token");
}

/// rdkafka's admin client asks for no token: what the brokers answer here is that this user may not, so they know who it
/// is.
#[tokio::test]
async fn an_operators_client_shows_a_token_too() {
    let _turn = turn().await;
    let variables = with_own_topics();
    let name = format!("{}chat-messages", variables["KAFKA_TOPIC_PREFIX"]);
    refused(&variables, &format!("{name} cannot be made or looked at: TopicAuthorizationFailed")).await;
}

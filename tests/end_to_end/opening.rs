//! The first moment of a connection.

use std::collections::HashSet;
use std::pin::pin;

use tests::Runtime;
use tests::client::send;
use tests::deadline::eventually;
use tests::tables::OF_CONNECTION;
use tests::trouble::{Trouble, TroubledWay, When};

/// A client's first frame was handled before its connection was stored elsewhere: dherault/serverless-offline #1110,
/// michalkvasnicak/aws-lambda-graphql #67 (case 12).
#[tokio::test]
async fn a_frame_in_the_same_moment_as_the_opening_is_understood() {
    const COUNT: usize = 100;
    let madang = Runtime::shared().await;
    let (alice, _bob, room) = madang.pair().await;
    for number in 0..COUNT {
        let mut client = alice.connect().await;
        let ack = client.request(send(&room, &format!("c{number}"), "first words")).await;
        assert_eq!(ack["type"], "ack", "{ack}");
    }
    let history = alice.messages_once_there(&room, COUNT).await;
    let ids: HashSet<&str> = history.iter().map(|message| message["clientMessageId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), COUNT);
    assert!(history.iter().all(|message| message["sender"] == alice.id));
}

/// However long the row takes (case 12): the opening waits for it.
// The way works while the start of the runtime blocks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opening_waits_for_its_row() {
    const ROW: &str = "TransactWriteItems";
    let tables = Runtime::for_its_tables();
    let way = TroubledWay::to(&tables.endpoints.dynamodb).await;
    let madang = Runtime::start_with::<&str>(&[], &[("AWS_ENDPOINT_URL_DYNAMODB", &way.url())]);
    let (alice, _bob, room) = madang.pair().await;
    for number in 0..5 {
        let before = way.met(ROW, Trouble::Held);
        way.set(&[(ROW, Trouble::Held, When::With(OF_CONNECTION))]);
        let mut opening = pin!(alice.connect());
        let held = eventually("the row on its way", async || (way.met(ROW, Trouble::Held) > before).then_some(()));
        tokio::select! {
            biased;
            _ = &mut opening => panic!("open before its row stands"),
            () = held => way.set(&[]),
        }
        let mut client = opening.await;
        let ack = client.request(send(&room, &format!("c{number}"), "first words")).await;
        assert_eq!(ack["type"], "ack", "{ack}");
    }
    let history = alice.messages_once_there(&room, 5).await;
    assert!(history.iter().all(|message| message["sender"] == alice.id));
}

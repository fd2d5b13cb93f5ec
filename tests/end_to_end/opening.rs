//! The first moment of a connection.

use std::collections::HashSet;

use tests::Runtime;
use tests::client::send;

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

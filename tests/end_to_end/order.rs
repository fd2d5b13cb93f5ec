//! One order of a room, the same for everybody and for ever.

use std::collections::HashMap;

use serde_json::Value;
use tests::Runtime;
use tests::person::assert_dense;

#[tokio::test]
async fn three_hundred_messages_of_five_senders_have_one_order() {
    const SENDERS: usize = 5;
    const EACH: usize = 60;
    let madang = Runtime::shared().await;
    let mut people = Vec::new();
    for _ in 0..SENDERS {
        people.push(madang.person("sender").await);
    }
    let listener = madang.person("listener").await;
    let everybody: Vec<_> = people.iter().collect();
    let room = listener.make_room(&everybody).await;
    let mut at_listener = listener.join(&room).await;
    let talks = people.iter().map(|person| async {
        let mut client = person.join(&room).await;
        for number in 1..=EACH {
            client.send(&room, &format!("c{number}"), &format!("{number}")).await;
        }
        client
    });
    let mut clients = futures_util::future::join_all(talks).await;
    let history = listener.messages_once_there(&room, SENDERS * EACH).await;
    assert_dense(&history, 2);
    assert_eq!(at_listener.hear_events(&room, SENDERS * EACH).await, history);
    for client in &mut clients {
        // They joined one after the other, so each heard an unbroken tail of the log, up to its end.
        while client.events(&room).last() != history.last() {
            client.event_where(&room, "the last one", |event| Some(event) == history.last()).await;
        }
        let heard = client.events(&room);
        assert_eq!(heard.as_slice(), history.get(history.len() - heard.len()..).unwrap());
    }
    // Whoever awaits the ack before the next send has their own order.
    let mut last: HashMap<&str, u64> = HashMap::new();
    for message in &history {
        let number: u64 = message["content"].as_str().and_then(|number| number.parse().ok()).unwrap();
        let before = last.insert(message["sender"].as_str().unwrap(), number).unwrap_or(0);
        assert_eq!(number, before + 1);
    }
    let sum: Vec<&Value> = history.iter().map(|message| &message["messageId"]).collect();
    assert_eq!(sum.iter().collect::<std::collections::HashSet<_>>().len(), history.len());
}

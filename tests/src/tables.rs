//! What stands in the tables, where no client can see it. The one place of the tests that builds or splits a key.

use std::ops::Range;

use serde_json::{Value, json};

use crate::http::Http;
use crate::person::Person;
use crate::runtime::Runtime;

/// The table of rooms.
pub const CHAT: &str = "chat";
/// The table of connections.
pub const CONNECTIONS: &str = "connections";

/// Most items of one batch. Source: DynamoDB's quotas.
const BATCH_MAX_ITEMS: usize = 25;

/// What every key of a connection's own begins with.
pub const OF_CONNECTION: &str = "CONN#";

fn room_partition(room: &str) -> String {
    format!("ROOM#{room}")
}

fn connection_partition(connection: &str) -> String {
    format!("{OF_CONNECTION}{connection}")
}

fn member_key(room: &str, user: &str) -> Value {
    key(&room_partition(room), &format!("MEMBER#{user}"))
}

fn member(room: &str, user: &str) -> Value {
    let mut item = member_key(room, user);
    item["role"] = json!({"S": "member"});
    item["joinedSeq"] = json!({"N": "1"});
    item["readSeq"] = json!({"N": "1"});
    item
}

fn sessions_key(person: &Person) -> Value {
    key(&format!("USER#{}", person.id), "SESSIONS")
}

fn key(partition: &str, sort: &str) -> Value {
    json!({"PK": {"S": partition}, "SK": {"S": sort}})
}

impl Runtime {
    /// The connections that are subscribed to a room, as (user, connection).
    pub async fn subscriptions(&self, room: &str) -> Vec<(String, String)> {
        let subscription = |row: &Value| {
            let key = row["SK"]["S"].as_str().expect("a sort key");
            let connection = key.split('#').nth(1).expect("a connection");
            (row["user"]["S"].as_str().expect("a user").to_owned(), connection.to_owned())
        };
        self.connection_rows(&room_partition(room)).await.iter().map(subscription).collect()
    }

    /// The connection of a user that is subscribed to a room.
    pub async fn connection_of(&self, person: &Person, room: &str) -> String {
        let subscriptions = self.subscriptions(room).await;
        let found = subscriptions.into_iter().find(|(user, _)| *user == person.id);
        found.unwrap_or_else(|| panic!("{} is not subscribed to {room}", person.id)).1
    }

    /// How many rows stand under a connection's key.
    pub async fn rows_of_connection(&self, connection: &str) -> usize {
        self.connection_rows(&connection_partition(connection)).await.len()
    }

    /// Whether a `resync` waits for a connection's subscription.
    pub async fn is_lagged(&self, room: &str, connection: &str, subscription: &str) -> bool {
        let sort = format!("{OF_CONNECTION}{connection}#{subscription}");
        let row = self.item(CONNECTIONS, &key(&room_partition(room), &sort)).await;
        row.is_some_and(|row| row.get("laggedSeq").is_some())
    }

    /// The connections of a person, read from their sessions.
    pub async fn sessions_of(&self, person: &Person) -> Vec<String> {
        let sessions = self.item(CONNECTIONS, &sessions_key(person)).await.unwrap_or_default();
        let connections = sessions["connections"]["M"].as_object();
        connections.into_iter().flat_map(|connections| connections.keys().cloned()).collect()
    }

    /// Makes a session as old as one that is on its way in no more.
    pub async fn age_session(&self, person: &Person, connection: &str) {
        let update = json!({
            "TableName": CONNECTIONS, "Key": sessions_key(person),
            "UpdateExpression": "SET connections.#c.connectedAt = connections.#c.connectedAt - :minutes",
            "ExpressionAttributeNames": {"#c": connection}, "ExpressionAttributeValues": {":minutes": {"N": "120000"}},
        });
        self.call("UpdateItem", &update).await;
    }

    /// Subscriptions to so many rooms that nobody knows, as far as they count for a connection.
    pub async fn add_subscriptions(&self, connection: &str, count: usize) {
        let partition = connection_partition(connection);
        self.put(CONNECTIONS, (0..count).map(|number| key(&partition, &format!("SUB#other-{number}#json")))).await;
    }

    /// Leaves of a connection's subscriptions what the rooms have.
    pub async fn orphan_subscriptions(&self, connection: &str) {
        for row in self.connection_rows(&connection_partition(connection)).await {
            let delete = json!({"TableName": CONNECTIONS, "Key": {"PK": row["PK"], "SK": row["SK"]}});
            self.call("DeleteItem", &delete).await;
        }
    }

    /// Members of a room as the commit writes them, without their invitations.
    pub async fn add_members(&self, room: &str, users: &[String]) {
        self.put(CHAT, users.iter().map(|user| member(room, user))).await;
    }

    /// Rooms that nobody made, as far as a person has them in their list.
    pub async fn add_rooms(&self, person: &Person, rooms: Range<usize>) {
        let listed = |number: usize| {
            let room = format!("{}-{number}", person.id);
            let mut item = member(&room, &person.id);
            item["GSI1PK"] = json!({"S": format!("USER#{}", person.id)});
            item["GSI1SK"] = json!({"S": room_partition(&room)});
            item
        };
        self.put(CHAT, rooms.map(listed)).await;
    }

    /// Does to what a command left for its repetition what DynamoDB does after 21 days.
    pub async fn forget_command(&self, room: &str, sender: &Person, command: &str) {
        let key = key(&format!("DEDUPE#{room}#{}", sender.id), command);
        let delete = json!({"TableName": CHAT, "Key": key, "ConditionExpression": "attribute_exists(PK)"});
        self.call("DeleteItem", &delete).await;
    }

    /// Whether the table knows somebody as a member of a room.
    pub async fn knows_member(&self, room: &str, person: &Person) -> bool {
        self.item(CHAT, &member_key(room, &person.id)).await.is_some()
    }

    /// How many items of the chat table hold a text anywhere.
    pub async fn items_with(&self, text: &str) -> usize {
        let mut scan = json!({"TableName": CHAT, "ConsistentRead": true});
        let mut count = 0;
        loop {
            let page = self.call("Scan", &scan).await;
            let items = page["Items"].as_array().expect("items");
            count += items.iter().filter(|item| item.to_string().contains(text)).count();
            match page.get("LastEvaluatedKey") {
                Some(key) => scan["ExclusiveStartKey"] = key.clone(),
                None => return count,
            }
        }
    }

    /// Takes a table away.
    pub async fn delete_table(&self, name: &str) {
        self.call("DeleteTable", &json!({"TableName": name})).await;
    }

    async fn connection_rows(&self, partition: &str) -> Vec<Value> {
        let query = json!({
            "TableName": CONNECTIONS, "ConsistentRead": true, "KeyConditionExpression": "PK = :partition",
            "ExpressionAttributeValues": {":partition": {"S": partition}},
        });
        serde_json::from_value(self.call("Query", &query).await["Items"].take()).expect("items")
    }

    async fn item(&self, table: &str, key: &Value) -> Option<Value> {
        let get = json!({"TableName": table, "ConsistentRead": true, "Key": key});
        self.call("GetItem", &get).await.get_mut("Item").map(Value::take)
    }

    async fn put(&self, table: &str, items: impl Iterator<Item = Value>) {
        let puts: Vec<Value> = items.map(|item| json!({"PutRequest": {"Item": item}})).collect();
        for puts in puts.chunks(BATCH_MAX_ITEMS) {
            self.call("BatchWriteItem", &json!({"RequestItems": {table: puts}})).await;
        }
    }

    /// Calls an operation of the tables' own API.
    async fn call(&self, operation: &str, body: &Value) -> Value {
        let target = format!("DynamoDB_20120810.{operation}");
        let headers = [
            ("x-amz-target", target.as_str()),
            ("content-type", "application/x-amz-json-1.0"),
            ("x-amz-date", "20260101T000000Z"),
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=local",
            ),
        ];
        Http::new(&self.endpoints.dynamodb, None).call("POST", "/", &headers, body.to_string()).await.good(200)
    }
}

//! Tables for one test, and the things that stand in them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType,
};
use common::auth::Principal;
use common::codec::{Dialect, Form};
use common::command::Signals;
use common::config::{Environment, StoreConfig};
use common::id::{CommandId, ConnectionId, RoomId, Seq, UserId};
use common::metrics::Metrics;
use common::record::{Record, RecordBody, SCHEMA_VERSION};
use common::room::commit::RoomBatch;
use common::room::event::{EventBody, RoomEvent};
use common::room::{Head, Role, RoomKind};
use common::store::{Connection, ConnectionState, Created, NewRoom, Store, StoreError, Terms};
use common::time::Time;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// When the tests happen.
pub(crate) const NOW: Time = Time::from_unix_ms(1_800_000_000_000);
pub(crate) const HOUR_MS: i64 = 3_600_000;

/// Names another DynamoDB than the embedded one, by its endpoint; tests that need what only that one does are left out
/// then, by `common/tests/on_moto`.
const ENDPOINT_VARIABLE: &str = "MADANG_TEST_DYNAMODB";

/// A store on tables of its own.
pub(crate) struct Tables {
    pub(crate) store: Arc<Store>,
    pub(crate) client: Client,
    metrics: Arc<Metrics>,
    /// What stands before the tables' names, where tests share a server.
    prefix: String,
    server: Option<JoinHandle<()>>,
}

impl Drop for Tables {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

/// What `ReadHalfUnits` and `WriteUnits` count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Units {
    pub(crate) read: f64,
    pub(crate) write: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Declaration {
    partition_key: String,
    sort_key: String,
    #[serde(default)]
    indexes: BTreeMap<String, Index>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    partition_key: String,
    sort_key: String,
    projection: String,
}

impl Tables {
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    /// With further settings.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        let (endpoint, prefix, server) = match std::env::var(ENDPOINT_VARIABLE) {
            Ok(endpoint) => (endpoint, format!("t{:x}-", rand::random::<u64>()), None),
            Err(_) => {
                let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
                let endpoint = format!("http://{}", listener.local_addr().unwrap());
                let server = dynoxide::server::serve_on(listener, dynoxide::Database::memory().unwrap());
                (endpoint, String::new(), Some(tokio::spawn(server)))
            }
        };
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("local", "local", None, None, "test"))
            .endpoint_url(&endpoint);
        let client = Client::from_conf(config.build());
        let declarations: BTreeMap<String, Declaration> =
            serde_json::from_str(include_str!("../../../infra/tables.json")).unwrap();
        for (name, declaration) in &declarations {
            create(&client, &format!("{prefix}{name}"), declaration).await;
        }
        let metrics = Arc::new(Metrics::default());
        let names = [("CHAT_TABLE", format!("{prefix}chat")), ("CONNECTIONS_TABLE", format!("{prefix}connections"))];
        let names = names.each_ref().map(|(name, value)| (*name, value.as_str()));
        let config = config_at(&endpoint, &[&names, settings].concat());
        Self { store: Arc::new(Store::new(config, Arc::clone(&metrics))), client, metrics, prefix, server }
    }

    /// The units since the last call.
    pub(crate) fn units(&self) -> Units {
        let counts = self.metrics.take();
        let count = |name: &str| counts.get(name).and_then(serde_json::Value::as_f64).unwrap_or_default();
        Units { read: count("ReadHalfUnits") / 2.0, write: count("WriteUnits") }
    }

    /// Makes a group of these people, the first its owner.
    pub(crate) async fn room(&self, id: &str, users: &[&str]) -> RoomId {
        let room = new_room(id, users, 1);
        let id = room.head.room.clone();
        assert!(matches!(self.store.create_room(room, NOW).await.unwrap(), Created::New));
        id
    }

    /// Handles records of a room as the consumer does, without posting.
    pub(crate) async fn commit(&self, room: &RoomId, records: Vec<Record>) -> RoomBatch {
        let mut batch = RoomBatch::new(records);
        batch.loaded(self.store.room_state(room, &batch.lookups()).await.unwrap());
        while let Some(transaction) = batch.next_transaction() {
            if !transaction.is_empty() {
                self.store.write_commit(room, &transaction, NOW).await.unwrap();
            }
            batch.written();
        }
        batch
    }

    /// Opens a connection of a user.
    pub(crate) async fn connect(&self, id: &str, user: &str) -> (ConnectionId, Principal) {
        let principal = Principal { user: user.parse().unwrap(), expires_at: NOW.plus_ms(HOUR_MS) };
        let id: ConnectionId = id.parse().unwrap();
        self.store.put_connection(&live(&id, &principal), NOW).await.unwrap();
        (id, principal)
    }

    /// Subscribes a connection to rooms that its user is a member of.
    pub(crate) async fn subscribe(&self, connection: &ConnectionId, principal: &Principal, rooms: &[RoomId]) {
        let mut memberships = Vec::new();
        for room in rooms {
            memberships.push((room.clone(), self.store.member(room, &principal.user).await.unwrap().unwrap()));
        }
        self.store.subscribe(connection, principal, &memberships, &json_terms(), NOW).await.unwrap();
    }

    /// A table's name on its server.
    pub(crate) fn named(&self, table: &str) -> String {
        format!("{}{table}", self.prefix)
    }

    /// Every item of a table, as the table holds it.
    pub(crate) async fn items(&self, table: &str) -> Vec<HashMap<String, AttributeValue>> {
        let pages =
            self.client.scan().table_name(self.named(table)).consistent_read(true).into_paginator().items().send();
        pages.collect::<Result<Vec<_>, _>>().await.unwrap()
    }

    /// Changes one attribute of an item behind the store's back.
    pub(crate) async fn change(&self, table: &str, key: (&str, &str), attribute: &str, value: AttributeValue) {
        let update = self.client.update_item().table_name(self.named(table)).set_key(Some(raw_key(key)));
        let update = update.update_expression("SET #name = :value").condition_expression("attribute_exists(PK)");
        let update = update.expression_attribute_names("#name", attribute);
        update.expression_attribute_values(":value", value).send().await.unwrap();
    }

    /// Removes one item behind the store's back.
    pub(crate) async fn remove(&self, table: &str, key: (&str, &str)) {
        let delete = self.client.delete_item().table_name(self.named(table)).set_key(Some(raw_key(key)));
        delete.condition_expression("attribute_exists(PK)").send().await.unwrap();
    }
}

fn config_at(endpoint: &str, settings: &[(&str, &str)]) -> StoreConfig {
    let fixed = [
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
        ("CHAT_TABLE", "chat"),
        ("CONNECTIONS_TABLE", "connections"),
        ("AWS_ENDPOINT_URL_DYNAMODB", endpoint),
    ];
    StoreConfig::new(&Environment::of_pairs(&[&fixed, settings].concat())).unwrap()
}

/// A store whose tables are somewhere else, or nowhere.
pub(crate) fn store_at(endpoint: &str) -> Store {
    Store::new(config_at(endpoint, &[]), Arc::default())
}

pub(crate) fn raw_key((partition, sort): (&str, &str)) -> HashMap<String, AttributeValue> {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    HashMap::from([("PK".to_owned(), text(partition)), ("SK".to_owned(), text(sort))])
}

async fn create(client: &Client, name: &str, declaration: &Declaration) {
    let schema = |partition: &str, sort: &str| {
        [(partition, KeyType::Hash), (sort, KeyType::Range)]
            .map(|(name, kind)| KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap())
            .to_vec()
    };
    let Declaration { partition_key, sort_key, indexes } = declaration;
    let mut create = client
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .set_key_schema(Some(schema(partition_key, sort_key)));
    let mut attributes = vec![partition_key, sort_key];
    for (index_name, index) in indexes {
        attributes.extend([&index.partition_key, &index.sort_key]);
        let projection = Projection::builder().projection_type(ProjectionType::from(index.projection.as_str()));
        let index = GlobalSecondaryIndex::builder()
            .index_name(index_name)
            .set_key_schema(Some(schema(&index.partition_key, &index.sort_key)))
            .projection(projection.build());
        create = create.global_secondary_indexes(index.build().unwrap());
    }
    for attribute in attributes {
        let definition =
            AttributeDefinition::builder().attribute_name(attribute).attribute_type(ScalarAttributeType::S);
        create = create.attribute_definitions(definition.build().unwrap());
    }
    create.send().await.unwrap();
}

/// A JSON client's subscription to events alone.
pub(crate) fn json_terms() -> Terms {
    Terms { form: Form::Json, events: true, signals: Signals::default() }
}

/// A live connection that was opened just now.
pub(crate) fn live(id: &ConnectionId, principal: &Principal) -> Connection {
    Connection {
        id: id.clone(),
        connected_at: NOW,
        dialect: Dialect::Json,
        state: ConnectionState::Live(principal.clone()),
    }
}

/// A room that is not in the table yet.
pub(crate) fn new_room(id: &str, users: &[&str], command: u128) -> NewRoom {
    let room: RoomId = id.parse().unwrap();
    let first = Seq::ZERO.next();
    let users: Vec<UserId> = users.iter().map(|user| user.parse().unwrap()).collect();
    let role = |index| if index == 0 { Role::Owner } else { Role::Member };
    NewRoom {
        head: Head {
            room: room.clone(),
            kind: RoomKind::Group,
            name: "room".to_owned(),
            epoch: format!("epoch-{command}").parse().unwrap(),
            last_seq: first,
            last_message_no: 0,
            last_message_seq: Seq::ZERO,
            member_count: users.len() as u64,
            owner_count: 1,
            created_at: NOW,
            last_activity: NOW,
            delivered_seq: Seq::ZERO,
        },
        event: RoomEvent {
            seq: first,
            room,
            at: NOW,
            sender: users[0].clone(),
            command_id: CommandId::new(NOW, 1 << 64 | command),
            body: EventBody::RoomCreated { name: "room".to_owned(), users: users.clone() },
        },
        members: users.into_iter().enumerate().map(|(index, user)| (user, role(index))).collect(),
    }
}

/// A record of any kind.
pub(crate) fn record(room: &RoomId, number: u128, sender: &str, body: RecordBody) -> Record {
    Record {
        v: SCHEMA_VERSION,
        id: CommandId::new(NOW, number),
        room_id: room.clone(),
        sender: sender.parse().unwrap(),
        received_at: NOW,
        reply_to: None,
        body,
    }
}

/// A message's record.
pub(crate) fn send(room: &RoomId, number: u128, sender: &str, client_message_id: &str, content: &str) -> Record {
    let body = RecordBody::Send {
        client_message_id: client_message_id.parse().unwrap(),
        content: content.to_owned().try_into().unwrap(),
    };
    record(room, number, sender, body)
}

pub(crate) fn seq(number: u64) -> Seq {
    Seq::new(number).unwrap()
}

/// Whether a condition did not hold.
pub(crate) fn is_condition<T: std::fmt::Debug>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Condition(_)))
}

//! Makes the tables of `infra/tables.json`, where they are missing. Idempotent; what exists is never changed.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::{
    Client,
    config::{BehaviorVersion, Region},
    error::SdkError,
    operation::create_table::builders::CreateTableFluentBuilder,
    types::{
        AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType,
        ScalarAttributeType, TableStatus, TimeToLiveSpecification, TimeToLiveStatus,
    },
};
use serde::Deserialize;

/// How long a table may take to become active.
const DEADLINE: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Why the tables are not as declared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProvisionError {
    /// The endpoint cannot be one.
    #[error("AWS_ENDPOINT_URL_DYNAMODB is not a URL such as http://127.0.0.1:8000")]
    NotUrl,
    /// Nobody answers there.
    #[error("no DynamoDB answers at {endpoint_url}, which AWS_ENDPOINT_URL_DYNAMODB names: {cause}")]
    NoAnswer {
        /// Where.
        endpoint_url: String,
        /// What the client met.
        cause: String,
    },
    /// Something was created but did not become usable.
    #[error("{0} did not become ready in time")]
    NotReady(String),
    /// DynamoDB refused, or could not be reached.
    #[error("table {table}: {reason}")]
    Table {
        /// The table's name.
        table: String,
        /// What the client reported, with its causes.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TableDeclaration {
    partition_key: String,
    sort_key: String,
    ttl_attribute: String,
    indexes: BTreeMap<String, IndexDeclaration>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IndexDeclaration {
    partition_key: String,
    sort_key: String,
    projection: String,
}

/// Creates the missing ones of the declared tables at this endpoint, and waits until they are active and expire items.
/// Credentials are dummies, so that this can never reach a real account.
///
/// # Errors
/// As [`ProvisionError`] says.
pub(crate) async fn create_tables(endpoint_url: &str) -> Result<(), ProvisionError> {
    let declared: BTreeMap<String, TableDeclaration> =
        serde_json::from_str(include_str!("../../tables.json")).expect("a test reads this data file");
    let client = dynamodb(endpoint_url);
    await_answer(&client, endpoint_url).await?;
    for (name, table) in &declared {
        create_table(&client, name, table).await?;
        expire_items(&client, name, &table.ttl_attribute).await?;
    }
    Ok(())
}

/// Asks for anything, so that an endpoint that is none is told apart from a table that cannot be made.
async fn await_answer(client: &Client, endpoint_url: &str) -> Result<(), ProvisionError> {
    if !endpoint_url.starts_with("http://") && !endpoint_url.starts_with("https://") {
        return Err(ProvisionError::NotUrl);
    }
    match client.list_tables().limit(1).send().await {
        Ok(_) | Err(SdkError::ServiceError(_)) => Ok(()),
        Err(error) => {
            Err(ProvisionError::NoAnswer { endpoint_url: endpoint_url.to_owned(), cause: with_causes(&error) })
        }
    }
}

/// A client with dummy credentials.
pub(crate) fn dynamodb(endpoint_url: &str) -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::from_keys("local", "local", None))
        .endpoint_url(endpoint_url)
        .build();
    Client::from_conf(config)
}

async fn create_table(client: &Client, name: &str, table: &TableDeclaration) -> Result<(), ProvisionError> {
    if status(client, name).await?.is_none() {
        let created = creation(client, name, table)?.send().await;
        // Another process may have been faster; then its table is waited for.
        if let Err(error) = created
            && !error.as_service_error().is_some_and(|error| error.is_resource_in_use_exception())
        {
            return Err(refused(name, &error));
        }
    }
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        if status(client, name).await? == Some(TableStatus::Active) {
            return Ok(());
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Err(ProvisionError::NotReady(format!("table {name}")))
}

async fn status(client: &Client, name: &str) -> Result<Option<TableStatus>, ProvisionError> {
    match client.describe_table().table_name(name).send().await {
        Ok(described) => Ok(described.table.and_then(|table| table.table_status)),
        Err(error) if error.as_service_error().is_some_and(|error| error.is_resource_not_found_exception()) => Ok(None),
        Err(error) => Err(refused(name, &error)),
    }
}

fn creation(client: &Client, name: &str, table: &TableDeclaration) -> Result<CreateTableFluentBuilder, ProvisionError> {
    let mut creation = client
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .set_key_schema(Some(key_schema(name, &table.partition_key, &table.sort_key)?));
    let mut attributes = vec![&table.partition_key, &table.sort_key];
    for (index_name, index) in &table.indexes {
        attributes.extend([&index.partition_key, &index.sort_key]);
        let projection = Projection::builder().projection_type(ProjectionType::from(index.projection.as_str())).build();
        let index = GlobalSecondaryIndex::builder()
            .index_name(index_name)
            .set_key_schema(Some(key_schema(name, &index.partition_key, &index.sort_key)?))
            .projection(projection)
            .build()
            .map_err(|error| refused(name, &error))?;
        creation = creation.global_secondary_indexes(index);
    }
    for attribute in attributes {
        let definition = AttributeDefinition::builder()
            .attribute_name(attribute)
            .attribute_type(ScalarAttributeType::S)
            .build()
            .map_err(|error| refused(name, &error))?;
        creation = creation.attribute_definitions(definition);
    }
    Ok(creation)
}

fn key_schema(table: &str, partition_key: &str, sort_key: &str) -> Result<Vec<KeySchemaElement>, ProvisionError> {
    [(partition_key, KeyType::Hash), (sort_key, KeyType::Range)]
        .into_iter()
        .map(|(attribute, kind)| KeySchemaElement::builder().attribute_name(attribute).key_type(kind).build())
        .collect::<Result<_, _>>()
        .map_err(|error| refused(table, &error))
}

async fn expire_items(client: &Client, name: &str, attribute: &str) -> Result<(), ProvisionError> {
    let described =
        client.describe_time_to_live().table_name(name).send().await.map_err(|error| refused(name, &error))?;
    let status = described.time_to_live_description.and_then(|described| described.time_to_live_status);
    if matches!(status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)) {
        return Ok(());
    }
    let specification = TimeToLiveSpecification::builder()
        .attribute_name(attribute)
        .enabled(true)
        .build()
        .map_err(|error| refused(name, &error))?;
    let updated = client.update_time_to_live().table_name(name).time_to_live_specification(specification).send().await;
    updated.map(drop).map_err(|error| refused(name, &error))
}

fn refused(table: &str, error: &(impl std::error::Error + 'static)) -> ProvisionError {
    ProvisionError::Table { table: table.into(), reason: with_causes(error) }
}

/// An error with its causes, on one line.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::Tables;

    #[tokio::test]
    async fn tables_are_made_once_with_keys_indexes_and_expiry() {
        let tables = Tables::start(None).await.unwrap();
        for _ in 0..2 {
            create_tables(tables.endpoint()).await.unwrap();
        }
        let client = dynamodb(tables.endpoint());
        for (name, index) in [("chat", "GSI1"), ("connections", "GSI2")] {
            let table = client.describe_table().table_name(name).send().await.unwrap().table.unwrap();
            let keys = |schema: &[KeySchemaElement]| -> Vec<String> {
                schema.iter().map(|key| key.attribute_name().to_owned()).collect()
            };
            assert_eq!(keys(table.key_schema()), ["PK", "SK"]);
            let [found] = table.global_secondary_indexes() else { panic!("{table:?}") };
            assert_eq!(found.index_name(), Some(index));
            assert_eq!(keys(found.key_schema()), [format!("{index}PK"), format!("{index}SK")]);
            let expiry = client.describe_time_to_live().table_name(name).send().await.unwrap();
            let expiry = expiry.time_to_live_description.unwrap();
            assert_eq!(expiry.time_to_live_status, Some(TimeToLiveStatus::Enabled));
            assert_eq!(expiry.attribute_name.as_deref(), Some("ttl"));
        }
        tables.stop().await;
    }

    #[tokio::test]
    async fn an_endpoint_that_nobody_serves_is_an_error_that_names_the_setting() {
        for endpoint in ["http://127.0.0.1:1", "127.0.0.1:8000"] {
            let error = create_tables(endpoint).await.unwrap_err().to_string();
            assert!(error.contains("AWS_ENDPOINT_URL_DYNAMODB"), "{error}");
        }
    }
}

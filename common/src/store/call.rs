//! Calls to the tables: each counts its units and sorts its failure, asks again for what a batch has left, and tries a
//! transaction in conflict again.

use std::time::Duration;

use aws_sdk_dynamodb::operation::delete_item::builders::DeleteItemFluentBuilder;
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{
    ConsumedCapacity, DeleteRequest, KeysAndAttributes, ReturnConsumedCapacity, TransactWriteItem, WriteRequest,
};

use super::Store;
use super::attributes::Item;
use super::error::{StoreError, classify, classify_transaction, invalid};
use super::keys::Key;
use crate::limits::{BATCH_GET_MAX_KEYS, BATCH_WRITE_MAX_ITEMS};

/// How often a conflict, or a batch of which nothing is done, is tried again before the caller hears of it.
const ATTEMPTS_MAX: u32 = 8;

/// How long a transaction may take with all its attempts: below the shortest timeout of a function, so that a client
/// hears that the table is away.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(6);

impl Store {
    /// One item, read consistently.
    pub(super) async fn get(&self, table: &str, key: Key) -> Result<Option<Item>, StoreError> {
        let get = self.client.get_item().table_name(table).set_key(Some(key.into_item())).consistent_read(true);
        let output = get.return_consumed_capacity(ReturnConsumedCapacity::Total).send().await.map_err(classify)?;
        self.count_read(output.consumed_capacity());
        Ok(output.item.map(Item))
    }

    /// The first items of a query, page after page until there are so many or no more.
    pub(super) async fn query(&self, mut query: QueryFluentBuilder, limit: usize) -> Result<Vec<Item>, StoreError> {
        let mut items = Vec::new();
        loop {
            let page = self.page(query.clone()).await?;
            items.extend(page.items.unwrap_or_default().into_iter().map(Item));
            if page.last_evaluated_key.is_none() || items.len() >= limit {
                items.truncate(limit);
                return Ok(items);
            }
            query = query.set_exclusive_start_key(page.last_evaluated_key);
        }
    }

    /// One page of a query.
    pub(super) async fn page(&self, query: QueryFluentBuilder) -> Result<QueryOutput, StoreError> {
        let query = query.return_consumed_capacity(ReturnConsumedCapacity::Total);
        let page = query.send().await.map_err(classify)?;
        self.count_read(page.consumed_capacity());
        Ok(page)
    }

    /// Any number of items by key, read consistently, in no order; those that do not exist are left out.
    pub(super) async fn batch_get(&self, table: &str, keys: Vec<Key>) -> Result<Vec<Item>, StoreError> {
        let mut items = Vec::with_capacity(keys.len());
        let mut keys: Vec<_> = keys.into_iter().map(Key::into_item).collect();
        let mut attempt = 0;
        while !keys.is_empty() {
            let rest = keys.split_off(keys.len().min(BATCH_GET_MAX_KEYS));
            let asked = keys.len();
            let request =
                KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build().map_err(invalid)?;
            let get = self.client.batch_get_item().request_items(table, request);
            let output = get.return_consumed_capacity(ReturnConsumedCapacity::Total).send().await.map_err(classify)?;
            for consumed in output.consumed_capacity() {
                self.count_read(Some(consumed));
            }
            items.extend(output.responses.into_iter().flatten().flat_map(|(_, items)| items).map(Item));
            let unprocessed = output.unprocessed_keys.into_iter().flatten().flat_map(|(_, keys)| keys.keys);
            keys = unprocessed.collect();
            if !keys.is_empty() {
                attempt = pause(if keys.len() < asked { 0 } else { attempt }, "unprocessed keys").await?;
            }
            keys.extend(rest);
        }
        Ok(items)
    }

    /// Deletes any number of items by key.
    pub(super) async fn batch_delete(&self, table: &str, keys: Vec<Key>) -> Result<(), StoreError> {
        let delete = |key: Key| {
            let request = DeleteRequest::builder().set_key(Some(key.into_item())).build();
            request.map(|request| WriteRequest::builder().delete_request(request).build())
        };
        let mut requests: Vec<_> = keys.into_iter().map(delete).collect::<Result<_, _>>().map_err(invalid)?;
        let mut attempt = 0;
        while !requests.is_empty() {
            let rest = requests.split_off(requests.len().min(BATCH_WRITE_MAX_ITEMS));
            let asked = requests.len();
            let write = self.client.batch_write_item().request_items(table, requests);
            let output =
                write.return_consumed_capacity(ReturnConsumedCapacity::Total).send().await.map_err(classify)?;
            for consumed in output.consumed_capacity() {
                self.count_write(Some(consumed));
            }
            requests = output.unprocessed_items.into_iter().flatten().flat_map(|(_, requests)| requests).collect();
            if !requests.is_empty() {
                attempt = pause(if requests.len() < asked { 0 } else { attempt }, "unprocessed items").await?;
            }
            requests.extend(rest);
        }
        Ok(())
    }

    /// An update of one item; what it writes, and on which condition, is the caller's.
    pub(super) fn update(&self, table: &str, key: Key) -> UpdateItemFluentBuilder {
        let update = self.client.update_item().table_name(table).set_key(Some(key.into_item()));
        update.return_consumed_capacity(ReturnConsumedCapacity::Total)
    }

    /// Makes an update. Gives what it returns of the item; none when its condition does not hold: the item is another
    /// one now, and there is nothing to do.
    pub(super) async fn update_if(&self, update: UpdateItemFluentBuilder) -> Result<Option<Item>, StoreError> {
        let Some(output) = if_held(update.send().await.map_err(classify))? else { return Ok(None) };
        self.count_write(output.consumed_capacity());
        Ok(Some(Item(output.attributes.unwrap_or_default())))
    }

    /// Deletes an item, unless the condition does not hold: it is another one now, and there is nothing to do.
    pub(super) async fn delete_if(&self, delete: DeleteItemFluentBuilder) -> Result<(), StoreError> {
        let delete = delete.return_consumed_capacity(ReturnConsumedCapacity::Total);
        if let Some(output) = if_held(delete.send().await.map_err(classify))? {
            self.count_write(output.consumed_capacity());
        }
        Ok(())
    }

    /// Writes all, or nothing. Conflicts with other transactions and throttling are tried again with jitter.
    pub(super) async fn transact(&self, items: Vec<TransactWriteItem>) -> Result<(), StoreError> {
        let outcome = tokio::time::timeout(TRANSACTION_TIMEOUT, self.try_transact(items)).await;
        outcome.unwrap_or_else(|_| Err(StoreError::Unavailable("a transaction took too long".to_owned())))
    }

    async fn try_transact(&self, items: Vec<TransactWriteItem>) -> Result<(), StoreError> {
        let mut attempt = 0;
        loop {
            let write = self.client.transact_write_items().set_transact_items(Some(items.clone()));
            match write.return_consumed_capacity(ReturnConsumedCapacity::Total).send().await {
                Ok(output) => {
                    for consumed in output.consumed_capacity() {
                        self.count_write(Some(consumed));
                    }
                    return Ok(());
                }
                Err(error) => match classify_transaction(error) {
                    StoreError::Unavailable(cause) => attempt = pause(attempt, &cause).await?,
                    error => return Err(error),
                },
            }
        }
    }

    fn count_read(&self, consumed: Option<&ConsumedCapacity>) {
        self.metrics.add_units(units(consumed), 0.0);
    }

    pub(super) fn count_write(&self, consumed: Option<&ConsumedCapacity>) {
        self.metrics.add_units(0.0, units(consumed));
    }
}

/// What came of a write; nothing when its condition did not hold.
fn if_held<T>(outcome: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match outcome {
        Err(StoreError::Condition(_)) => Ok(None),
        outcome => outcome.map(Some),
    }
}

fn units(consumed: Option<&ConsumedCapacity>) -> f64 {
    consumed.and_then(ConsumedCapacity::capacity_units).unwrap_or_default()
}

/// Waits before the next attempt, longer each time and never twice the same; fails after the last.
async fn pause(attempt: u32, cause: &str) -> Result<u32, StoreError> {
    if attempt + 1 >= ATTEMPTS_MAX {
        return Err(StoreError::Unavailable(cause.to_owned()));
    }
    jitter(attempt).await;
    Ok(attempt + 1)
}

pub(super) async fn jitter(attempt: u32) {
    let longest_ms = 20_u64 << attempt.min(5);
    tokio::time::sleep(Duration::from_millis(rand::random_range(longest_ms / 2..=longest_ms))).await;
}

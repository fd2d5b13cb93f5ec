//! Single writes in conflict with a transaction. The SDK takes such a conflict for final, though the transaction is over
//! in a moment: here it is told to try again, with its own jitter, as often as after a lost connection.

use aws_sdk_dynamodb::config::interceptors::InterceptorContext;
use aws_sdk_dynamodb::config::retry::{ClassifyRetry, RetryAction};
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;

/// What the store writes outside of transactions and batches: items, updates and deletions.
#[derive(Debug)]
pub(super) struct SingleWrites;

impl ClassifyRetry for SingleWrites {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let Some(Err(error)) = context.output_or_error() else { return RetryAction::NoActionIndicated };
        let Some(error) = error.as_operation_error() else { return RetryAction::NoActionIndicated };
        let is_conflict = error.downcast_ref().is_some_and(UpdateItemError::is_transaction_conflict_exception)
            || error.downcast_ref().is_some_and(DeleteItemError::is_transaction_conflict_exception)
            || error.downcast_ref().is_some_and(PutItemError::is_transaction_conflict_exception);
        if is_conflict { RetryAction::server_error() } else { RetryAction::NoActionIndicated }
    }

    fn name(&self) -> &'static str {
        "transaction conflicts of single writes"
    }
}

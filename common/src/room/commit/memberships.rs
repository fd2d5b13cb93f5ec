//! What a batch has seen of memberships, for whoever keeps them outside the table.

use std::collections::HashSet;

use super::{Outcome, RoomBatch};
use crate::code::ErrorCode;
use crate::id::UserId;

/// Who is a member behind the last record of a batch, and who is none, as far as the batch had to know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memberships<'a> {
    /// Members.
    pub standing: Vec<&'a UserId>,
    /// Those whom the batch has removed, or refused as strangers.
    pub ended: Vec<UserId>,
}

impl Memberships<'_> {
    /// Nothing was seen.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.standing.is_empty() && self.ended.is_empty()
    }
}

impl RoomBatch {
    /// What this batch has seen of memberships. To be asked when every record has its outcome.
    #[must_use]
    pub fn memberships(&self) -> Memberships<'_> {
        let members = &self.state.members;
        let strangers = self.records.iter().zip(&self.outcomes).filter_map(|(record, outcome)| match outcome {
            Outcome::Refused(ErrorCode::NotMember | ErrorCode::RoomNotFound) => Some(record.sender.clone()),
            _ => None,
        });
        let removed = self.removals().into_iter().map(|(user, _)| user);
        // A removed one may have been invited again since, by this batch or before it came once more.
        let ended: HashSet<UserId> = strangers.chain(removed).filter(|user| !members.contains_key(user)).collect();
        Memberships { standing: members.keys().collect(), ended: ended.into_iter().collect() }
    }
}

//! Signals of one user: who comes and goes, who types.

use common::failure::Failure;
use common::id::UserId;
use common::record::Signal;
use common::time::Time;

use crate::handler::Consumer;
use crate::post::PostOffice;

impl Consumer {
    /// Applies one user's signals.
    pub(crate) async fn apply_signals(
        &self,
        _post_office: &PostOffice<'_>,
        user: &UserId,
        signals: &[Signal],
        _now: Time,
    ) -> Result<(), Failure> {
        tracing::debug!(user_id = %user, signals = signals.len(), "signals");
        Ok(())
    }
}

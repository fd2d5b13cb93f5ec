//! What is done about each kind of entry that is due. Every act begins with its claim and may be repeated: whoever dies
//! in the middle leaves it to whoever finds the claim past.

use common::codec::Push;
use common::codec::frame::ServerFrame;
use common::failure::Failure;
use common::id::{ConnectionId, FrameId, RoomId, UserId};
use common::ingress::{session_signal, signal};
use common::outbound::PostError;
use common::record::SignalBody;
use common::store::{ConnectionEnd, Due, DueItem, LaggedSubscription, StoreError};
use common::time::Time;
use common::{departure, farewell};

use crate::handler::Sweeper;

impl Sweeper {
    /// Acts on one entry; false when it is somebody else's, or not due any more.
    pub(crate) async fn act(&self, due: &Due, now: Time) -> Result<bool, Failure> {
        match &due.item {
            DueItem::Connection(connection) => {
                let Some(end) = self.store.claim_connection(connection, due.at, now).await? else { return Ok(false) };
                self.end_connection(connection, end, now).await?;
            }
            DueItem::Subscription { room, connection, subscription } => {
                let claim = self.store.claim_lagged((room, connection, subscription), due.at, now).await?;
                let Some(lagged) = claim else { return Ok(false) };
                self.resync(room, &lagged, now).await?;
            }
            DueItem::Sessions(user) => return self.check_sessions(user, due.at, now).await,
        }
        Ok(true)
    }

    async fn end_connection(&self, connection: &ConnectionId, end: ConnectionEnd, now: Time) -> Result<(), Failure> {
        let Self { store, outbound, producer, .. } = self;
        let ConnectionEnd::Close { code, dialect, is_established } = end else {
            tracing::info!("a connection has outlived its time");
            return Ok(departure::remove(store, producer, connection, now).await?);
        };
        tracing::info!(code = code.as_str(), "a connection ends");
        match farewell::say(outbound, connection, &dialect, code).await {
            Ok(()) => departure::remove(store, producer, connection, now).await?,
            Err(PostError::Gone) if is_established => departure::remove_gone(store, producer, connection, now).await?,
            // It may still be inside its own `$connect`; without its rows it would be open and nobody's.
            Err(error) => return Err(unavailable(error)),
        }
        Ok(())
    }

    /// Tells a connection that was too slow where its room is now.
    async fn resync(&self, room: &RoomId, lagged: &LaggedSubscription, now: Time) -> Result<(), Failure> {
        let connection = &lagged.subscription.connection;
        let Some(head) = self.store.head(room).await? else {
            return Err(StoreError::Unavailable("the room of a subscription".to_owned()).into());
        };
        let resync = Push::new(&ServerFrame::resync(&head), FrameId::new(now, rand::random()));
        let resync = resync.to_room(room, &lagged.subscription.terms.form);
        match self.outbound.post(connection, resync.as_bytes()).await {
            Ok(()) => Ok(self.store.clear_lagged(room, &lagged.subscription, lagged.seq).await?),
            Err(PostError::Gone) => {
                departure::remove_gone(&self.store, &self.producer, connection, now).await?;
                // The row that led here, should it be all that is left.
                Ok(self.store.forget_subscriptions(room, &[&lagged.subscription]).await?)
            }
            Err(PostError::Slow) => Ok(self.store.postpone_lagged(room, lagged, now).await?),
            Err(error @ PostError::Refused) => Err(unavailable(error)),
        }
    }

    /// Has the user's consumer look at sessions that others were told something else about; drops those that must have
    /// been cut.
    async fn check_sessions(&self, user: &UserId, at: Time, now: Time) -> Result<bool, Failure> {
        let Some(claim) = self.store.claim_sessions(user, at, now).await? else { return Ok(false) };
        if claim.has_ghosts() {
            // That is a change, which has its own time to be looked at.
            if self.store.drop_ghosts(user, now).await? {
                session_signal(&self.producer, user, SignalBody::Closed {}, now).await;
            }
            return Ok(true);
        }
        if claim.is_unannounced() {
            signal(&self.producer, user, SignalBody::Check {}, now).await?;
        }
        self.store.settle_sessions(user, &claim, now).await?;
        Ok(true)
    }
}

fn unavailable(error: PostError) -> Failure {
    StoreError::Unavailable(format!("the management API: {error}")).into()
}

//! Read markers: the highest of each user in a room moves, and is told.

use common::failure::Failure;
use common::id::RoomId;
use common::record::Marker;
use common::time::Time;

use crate::handler::Consumer;
use crate::post::PostOffice;

impl Consumer {
    /// Applies one room's markers.
    pub(crate) async fn apply_markers(
        &self,
        _post_office: &PostOffice<'_>,
        room: &RoomId,
        markers: &[Marker],
        _now: Time,
    ) -> Result<(), Failure> {
        tracing::debug!(room_id = %room, markers = markers.len(), "read markers");
        Ok(())
    }
}

//! The domain of one room: its state, its events, and the commit that turns records into events.
//! Architecture invariant: nothing here does I/O or reads a clock.

pub mod commit;
pub mod event;
pub mod rules;
pub mod state;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{Epoch, RoomId, Seq, UserId};
use crate::time::Time;

/// A room's head: one per room, written with every commit, and the fence against a second writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The room.
    pub room: RoomId,
    /// Direct or group.
    pub kind: RoomKind,
    /// A group's name; empty in a direct room.
    pub name: String,
    /// The life of the log.
    pub epoch: Epoch,
    /// The last event's seq.
    pub last_seq: Seq,
    /// How many messages the log has.
    pub last_message_no: u64,
    /// The last of them; 0 while there is none.
    pub last_message_seq: Seq,
    /// How many members the room has.
    pub member_count: u64,
    /// How many of them are owners; a direct room has none.
    pub owner_count: u64,
    /// When the room was made.
    pub created_at: Time,
    /// When something durable last happened.
    pub last_activity: Time,
    /// Every event up to here is known to be posted.
    pub delivered_seq: Seq,
}

/// The two kinds of room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomKind {
    /// Exactly two people; its identity is derived from theirs.
    Direct {
        /// The two, in the order of their ids.
        users: [UserId; 2],
    },
    /// Any number of people, with roles.
    Group,
}

impl RoomKind {
    /// `direct` or `group`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Direct { .. } => "direct",
            Self::Group => "group",
        }
    }

    /// The other person of a direct room.
    #[must_use]
    pub fn peer_of(&self, user: &UserId) -> Option<&UserId> {
        match self {
            Self::Direct { users } => users.iter().find(|other| *other != user),
            Self::Group => None,
        }
    }
}

/// A membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub user: UserId,
    /// What they may do.
    pub role: Role,
    /// The event that made them a member.
    pub joined_seq: Seq,
    /// The last event that they have read.
    pub read_seq: Seq,
}

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Talks.
    Member,
    /// Also invites, kicks and deletes.
    Admin,
    /// Also names admins and owners.
    Owner,
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        })
    }
}

impl FromStr for Role {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "member" => Ok(Self::Member),
            "admin" => Ok(Self::Admin),
            "owner" => Ok(Self::Owner),
            _ => Err(()),
        }
    }
}

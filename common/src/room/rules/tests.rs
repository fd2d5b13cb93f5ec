//! Every rule, in a group of an owner, an admin and two members.

use super::*;
use crate::id::Seq;
use crate::room::event::EventBody;
use crate::time::Time;

const NOW: Time = Time::from_unix_ms(1_800_000_000_000);

fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

fn group() -> RoomState {
    let member = |name: &str, role| {
        let joined = Seq::new(1).unwrap();
        (user(name), Member { user: user(name), role, joined_seq: joined, read_seq: joined })
    };
    let head = Head {
        room: "room".parse().unwrap(),
        kind: RoomKind::Group,
        name: "yard".to_owned(),
        epoch: "e".parse().unwrap(),
        last_seq: Seq::new(3).unwrap(),
        last_message_no: 2,
        last_message_seq: Seq::new(3).unwrap(),
        member_count: 4,
        owner_count: 1,
        created_at: NOW,
        last_activity: NOW,
        delivered_seq: Seq::ZERO,
    };
    let members = [
        member("olga", Role::Owner),
        member("adam", Role::Admin),
        member("mina", Role::Member),
        member("max", Role::Member),
    ];
    let mut state = RoomState { head: Some(head), members: members.into(), ..RoomState::default() };
    for (seq, content) in [(2, Some("hi".to_owned())), (3, None)] {
        let message = Message {
            id: format!("e.{seq}").parse().unwrap(),
            client_message_id: "c".parse().unwrap(),
            number: seq - 1,
            content,
            edited_at: None,
        };
        let event = RoomEvent {
            seq: Seq::new(seq).unwrap(),
            room: "room".parse().unwrap(),
            at: NOW,
            sender: user("mina"),
            command_id: crate::id::CommandId::new(NOW, seq.into()),
            body: EventBody::Message(message),
        };
        state.targets.insert(event.seq, event);
    }
    state
}

/// A direct room of the two members.
fn direct() -> RoomState {
    let mut direct = group();
    direct.members.retain(|user, _| ["mina", "max"].contains(&user.as_str()));
    let head = direct.head.as_mut().unwrap();
    (head.kind, head.owner_count) = (RoomKind::Direct { users: [user("max"), user("mina")] }, 0);
    direct
}

fn check_in(state: &RoomState, sender: &str, body: RecordBody, expected: Result<(), ErrorCode>) {
    let actual = check(state, &user(sender), &body).map_err(|refusal| refusal.code);
    assert_eq!(actual, expected, "{sender}: {body:?}");
}

fn in_group(sender: &str, body: RecordBody, expected: Result<(), ErrorCode>) {
    check_in(&group(), sender, body, expected);
}

fn invite(name: &str) -> RecordBody {
    RecordBody::Invite { user_id: user(name) }
}

fn kick(name: &str) -> RecordBody {
    RecordBody::Kick { user_id: user(name) }
}

fn role(name: &str, role: Role) -> RecordBody {
    RecordBody::ChangeRole { user_id: user(name), role }
}

fn leave(successor: Option<&str>) -> RecordBody {
    RecordBody::Leave { successor: successor.map(user) }
}

fn rename(name: &str) -> RecordBody {
    RecordBody::Rename { name: name.to_owned().try_into().unwrap() }
}

fn edit(message: &str, content: &str) -> RecordBody {
    RecordBody::Edit { message_id: message.parse().unwrap(), content: content.to_owned().try_into().unwrap() }
}

fn delete(message: &str) -> RecordBody {
    RecordBody::Delete { message_id: message.parse().unwrap() }
}

#[test]
fn nobody_acts_where_they_are_no_member() {
    for body in [invite("nora"), kick("mina"), leave(None), rename("x"), edit("e.2", "x"), delete("e.2")] {
        in_group("nora", body.clone(), Err(ErrorCode::NotMember));
        check_in(&RoomState::default(), "olga", body, Err(ErrorCode::RoomNotFound));
    }
}

/// As if the room were not there.
#[test]
fn a_stranger_does_not_learn_who_talks_with_whom() {
    for body in [invite("nora"), kick("max"), leave(None), rename("x"), edit("e.2", "x"), delete("e.2")] {
        check_in(&direct(), "nora", body, Err(ErrorCode::RoomNotFound));
    }
}

#[test]
fn admins_invite_and_rename() {
    in_group("olga", invite("nora"), Ok(()));
    in_group("adam", invite("nora"), Ok(()));
    in_group("mina", invite("nora"), Err(ErrorCode::Forbidden));
    in_group("adam", invite("mina"), Err(ErrorCode::NoChange));
    in_group("adam", rename("garden"), Ok(()));
    in_group("adam", rename("yard"), Err(ErrorCode::NoChange));
    in_group("mina", rename("garden"), Err(ErrorCode::Forbidden));
    let mut full = group();
    full.head.as_mut().unwrap().member_count = MEMBERS_PER_ROOM_MAX;
    check_in(&full, "olga", invite("nora"), Err(ErrorCode::RoomFull));
    check_in(&full, "olga", invite("mina"), Err(ErrorCode::NoChange));
}

#[test]
fn nobody_kicks_their_equal() {
    in_group("olga", kick("adam"), Ok(()));
    in_group("adam", kick("mina"), Ok(()));
    in_group("adam", kick("olga"), Err(ErrorCode::Forbidden));
    in_group("adam", kick("adam"), Err(ErrorCode::Forbidden));
    in_group("mina", kick("max"), Err(ErrorCode::Forbidden));
    in_group("mina", kick("nora"), Err(ErrorCode::Forbidden));
    in_group("adam", kick("nora"), Err(ErrorCode::NoChange));
}

#[test]
fn owners_give_roles() {
    in_group("olga", role("mina", Role::Admin), Ok(()));
    in_group("olga", role("mina", Role::Owner), Ok(()));
    in_group("olga", role("mina", Role::Member), Err(ErrorCode::NoChange));
    in_group("olga", role("nora", Role::Admin), Err(ErrorCode::InvalidField));
    in_group("adam", role("mina", Role::Admin), Err(ErrorCode::Forbidden));
    in_group("olga", role("olga", Role::Member), Err(ErrorCode::LastOwner));
    let mut two = group();
    two.head.as_mut().unwrap().owner_count = 2;
    check_in(&two, "olga", role("olga", Role::Member), Ok(()));
}

#[test]
fn the_last_owner_names_a_successor() {
    in_group("mina", leave(None), Ok(()));
    in_group("olga", leave(None), Err(ErrorCode::LastOwner));
    in_group("olga", leave(Some("mina")), Ok(()));
    in_group("olga", leave(Some("olga")), Err(ErrorCode::InvalidField));
    in_group("olga", leave(Some("nora")), Err(ErrorCode::InvalidField));
    in_group("mina", leave(Some("max")), Err(ErrorCode::Forbidden));
    let mut alone = group();
    alone.members.retain(|user, _| user.as_str() == "olga");
    alone.head.as_mut().unwrap().member_count = 1;
    check_in(&alone, "olga", leave(None), Ok(()));
}

#[test]
fn messages_are_edited_by_their_senders_and_deleted_by_admins_too() {
    in_group("mina", edit("e.2", "ho"), Ok(()));
    in_group("mina", edit("e.2", "hi"), Err(ErrorCode::NoChange));
    in_group("olga", edit("e.2", "ho"), Err(ErrorCode::Forbidden));
    in_group("mina", delete("e.2"), Ok(()));
    in_group("adam", delete("e.2"), Ok(()));
    in_group("max", delete("e.2"), Err(ErrorCode::Forbidden));
    for message in ["e.3", "e.4", "other.2"] {
        in_group("mina", edit(message, "ho"), Err(ErrorCode::MessageNotFound));
        in_group("olga", delete(message), Err(ErrorCode::MessageNotFound));
    }
}

#[test]
fn a_direct_room_stays_as_it_is() {
    let direct = direct();
    for body in [invite("nora"), kick("max"), leave(None), rename("x"), role("max", Role::Owner)] {
        check_in(&direct, "mina", body, Err(ErrorCode::DirectRoom));
    }
    check_in(&direct, "mina", edit("e.2", "ho"), Ok(()));
    check_in(&direct, "mina", delete("e.2"), Ok(()));
    check_in(&direct, "max", delete("e.2"), Err(ErrorCode::Forbidden));
}

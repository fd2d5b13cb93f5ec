//! Every limit of Madang, once, with its unit and where it comes from.

/// Longest message content, in Unicode scalar values (ours: five times a long paragraph).
pub const CONTENT_MAX_SCALARS: usize = 4_000;
/// Longest finished server frame that carries one event, in bytes (API Gateway's frame size).
pub const FRAME_MAX_BYTES: usize = 32_768;
/// Longest answer that a function gives on a socket, in bytes (API Gateway's message size is 128 KB; ours leaves room).
pub const ANSWER_MAX_BYTES: usize = 98_304;
/// Longest HTTP body that a call may carry, in bytes (ours: the largest body is an invitation of many).
pub const HTTP_BODY_MAX_BYTES: usize = 65_536;
/// Deepest nesting of a JSON text, in levels (ours: the deepest frame of the protocol has 3).
pub const JSON_DEPTH_MAX: usize = 16;
/// Largest integer of the protocol: what a JavaScript number holds exactly.
pub const INTEGER_MAX: u64 = (1 << 53) - 1;
/// Longest room id, frame id and client message id, in characters (ours: fits a UUID with a prefix).
pub const ID_MAX_CHARACTERS: usize = 64;
/// Longest user id, in bytes (ours: the subjects of the common issuers stay below).
pub const USER_ID_MAX_BYTES: usize = 128;
/// Longest connection id, in bytes (ours: API Gateway's have some 16).
pub const CONNECTION_ID_MAX_BYTES: usize = 128;
/// Longest `Idempotency-Key`, in bytes (ours).
pub const IDEMPOTENCY_KEY_MAX_BYTES: usize = 255;
/// Longest room name, in Unicode scalar values (ours).
pub const ROOM_NAME_MAX_SCALARS: usize = 80;
/// Most people named when a group is created (ours: the creation is one DynamoDB transaction of at most 100 items).
pub const ROOM_CREATE_MAX_USERS: usize = 90;
/// Most members of one room (ours: what one fan-out and one page of subscriptions are measured for).
pub const MEMBERS_PER_ROOM_MAX: u64 = 10_000;
/// Most people in one invitation (ours: one record each).
pub const INVITE_MAX_USERS: usize = 100;
/// Above so many members, a room has neither receipts, typing nor presence (ours: each would be a frame per member).
pub const SIGNALS_MAX_MEMBERS: u64 = 100;
/// Most connections that are told of one user's coming or going, those of the most active rooms first (ours: signals
/// must not take the time of an invocation from events).
pub const PRESENCE_CONNECTIONS_MAX: usize = 1_000;
/// How long others may show that somebody is typing, in milliseconds (ours).
pub const TYPING_EXPIRES_MS: u64 = 5_000;
/// Most rooms of one user (ours: a room list is sorted in memory). Checked at the door alone: a burst may pass it, and then
/// the list has so many of them.
pub const ROOMS_PER_USER_MAX: usize = 1_000;
/// So many rooms a user may have when somebody else puts them into one more (ours: the rest is for rooms that they make
/// themselves, so that nobody else can fill their list).
pub const ROOMS_BY_OTHERS_MAX: usize = 900;
/// Most subscriptions of one connection (ours: a refresh touches each).
pub const SUBSCRIPTIONS_PER_CONNECTION_MAX: usize = 500;
/// Most rooms in one `subscribe` (three items each and the connection: a DynamoDB transaction has at most 100).
pub const SUBSCRIBE_MAX_ROOMS: usize = 33;
/// Most items in one DynamoDB transaction (DynamoDB's quota).
pub const TRANSACTION_MAX_ITEMS: usize = 100;
/// Most bytes in one DynamoDB transaction that the commit plans for (DynamoDB's quota is 4 MB; ours leaves room for names).
pub const TRANSACTION_MAX_BYTES: usize = 3_000_000;
/// Most keys in one DynamoDB batch get (DynamoDB's quota).
pub const BATCH_GET_MAX_KEYS: usize = 100;
/// Most writes in one DynamoDB batch write (DynamoDB's quota).
pub const BATCH_WRITE_MAX_ITEMS: usize = 25;
/// Most events in a catch-up (ours).
pub const CATCH_UP_MAX_EVENTS: usize = 300;
/// Most messages in one page of history (ours).
pub const HISTORY_MAX_MESSAGES: usize = 100;
/// Messages in a page of history when the caller names no limit (ours).
pub const HISTORY_DEFAULT_MESSAGES: usize = 50;
/// Most rooms or members in one page (ours).
pub const LIST_MAX_ENTRIES: usize = 100;
/// Rooms or members in a page when the caller names no limit (ours).
pub const LIST_DEFAULT_ENTRIES: usize = 50;
/// From this many on, `unread` means "or more" (ours: one page of history).
pub const UNREAD_MAX: u64 = 100;
/// So many events behind a marker are looked at for `unread`; with more, and fewer unread among them, it is taken for
/// "or more" (ours: about 100 read units).
pub const UNREAD_SCAN_MAX_EVENTS: u64 = 2_000;
/// Refusals remembered under one `clientMessageId` (ours: a further one takes the place of the oldest).
pub const REFUSALS_REMEMBERED_MAX: usize = 64;
/// How old a command is when it is taken for decided, in milliseconds (ours: a batching window and some tries of its
/// batch; a consumer that is further behind lets a conflict pass for a duplicate until it has caught up).
pub const COMMAND_DECIDED_AFTER_MS: i64 = 10_000;
/// How long a dedupe item is kept, in seconds: longer than any topic keeps a record.
pub const DEDUPE_TTL_SECONDS: i64 = 21 * 24 * 3_600;
/// How long API Gateway lets a connection live, in milliseconds.
pub const CONNECTION_MAX_MS: i64 = 2 * 3_600 * 1_000;
/// How long a pending connection may wait with its token, in milliseconds (ours).
pub const PENDING_MAX_MS: i64 = 10_000;
/// Sessions that a user may have unless configured otherwise (ours: a phone, a tablet, two computers, one to spare).
pub const SESSIONS_PER_USER_DEFAULT: usize = 5;
/// Most sessions of a user that can be configured (ours: they stand in one item).
pub const SESSIONS_PER_USER_MAX: usize = 100;
/// Most sessions that give way to one (ours: they are closed in one DynamoDB transaction, with two more items).
pub const SESSIONS_REPLACED_MAX: usize = 90;
/// How long somebody without sessions is still shown as there unless configured otherwise, in seconds (ours: a
/// connection that API Gateway has cut after two hours is back by then).
pub const PRESENCE_GRACE_DEFAULT_SECONDS: i64 = 60;
/// Longest such time that can be configured, in seconds (ours).
pub const PRESENCE_GRACE_MAX_SECONDS: i64 = 3_600;
/// Longest token that is looked at, in bytes (ours: API Gateway's header limit for HTTP APIs).
pub const TOKEN_MAX_BYTES: usize = 10_240;
/// How many seconds past `exp`, or before `nbf`, a token still counts (ours: covers clocks that differ).
pub const TOKEN_LEEWAY_SECONDS: u64 = 30;
/// Most headers of a STOMP frame (ours: clients send a handful).
pub const STOMP_HEADERS_MAX: usize = 64;
/// Longest line of a STOMP frame's head, in bytes (a token, and what stands before it).
pub const STOMP_HEADER_LINE_MAX_BYTES: usize = TOKEN_MAX_BYTES + 1_024;
/// Longest id of a STOMP subscription, in bytes (ours: it is part of a DynamoDB sort key, which has at most 1,024).
pub const STOMP_SUBSCRIPTION_ID_MAX_BYTES: usize = 128;
/// Longest receipt that a STOMP frame asks for, in bytes (ours: each record has it, an invitation one for each person).
pub const STOMP_RECEIPT_MAX_BYTES: usize = 128;
/// Most STOMP frames in one WebSocket message (ours: they are obeyed one after the other within a function's timeout).
pub const STOMP_FRAMES_PER_MESSAGE_MAX: usize = 100;
/// Most commands that the frames of one WebSocket message become, an invitation one for each person (ours: as many as a
/// message in JSON becomes at most).
pub const STOMP_COMMANDS_PER_MESSAGE_MAX: usize = INVITE_MAX_USERS;
/// Most subscriptions of one STOMP connection to its user's queue (ours: each notice is copied for each).
pub const STOMP_USER_QUEUES_MAX: usize = 4;
/// Most subscriptions of one STOMP connection to one room and its signals (ours: each event is copied for each).
pub const STOMP_SUBSCRIPTIONS_PER_ROOM_MAX: usize = 4;
/// Longest WebSocket message that several STOMP frames are put into unless configured otherwise, in bytes (Tomcat's
/// client, which Spring uses, takes 8 KB unless told otherwise).
pub const STOMP_MESSAGE_DEFAULT_BYTES: usize = 8_192;
/// Shortest such message that can be configured, in bytes (ours: room for one frame).
pub const STOMP_MESSAGE_MIN_BYTES: usize = 1_024;
/// How often a STOMP client is asked for a heart-beat, in milliseconds (half of API Gateway's idle limit of ten minutes).
pub const STOMP_HEARTBEAT_MS: u64 = 300_000;

//! Memberships in a cache, so that the door need not ask the table: the one module that knows the Redis client and its
//! keys.
//!
//! In: what a commit has seen to hold, and to hold no more. Out: "yes", or nothing. Only positive facts are kept, each
//! as an entry of its own. Whatever else is found, or not found in time, says nothing, and the table is asked. So a
//! cache that is away, slow, emptied or full of something else costs reads. One that says "yes" of somebody who is no
//! member lets a command through the door that the commit then refuses, which corrects the entry.
//!
//! **One writer.** A room's entries are kept by its consumer, behind each commit and in the log's order. The door never
//! writes: what it has read may be older than a removal. A removal that the cache did not take, or took before the late
//! write of a consumer that had lost its partition, is made good by the entry's end or by the first refusal.
//!
//! **Time.** An ask is one round trip within `ANSWER_LIMIT`, and nothing is connected before the first. A kept
//! connection that fails is replaced at once, since a function that was frozen wakes with a dead one; whoever asks
//! meanwhile waits for the same new one. After a failure the cache is left alone for `REST`: the table is faster than a
//! limit.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, FromRedisValue, Pipeline, RedisError};
use tokio::time::Instant;

use crate::config::CacheConfig;
use crate::id::{RoomId, UserId};
use crate::metrics::{Count, Metrics};
use crate::room::commit::Memberships;

/// How long an entry lasts, in seconds: each message of its member starts it anew, so that who has talked within the hour
/// is found, and what is wrong is gone after it.
const TTL_SECONDS: u64 = 3_600;
/// How long an answer may take. Within a region it takes less than a millisecond, and the table some five; but a small
/// function waits for its share of a processor, too. Where tests run, the cache waits for its own.
const ANSWER_LIMIT: Duration = Duration::from_millis(if cfg!(debug_assertions) { 3_000 } else { 50 });
/// How long a connection may take: some round trips and, for TLS, the system's list of authorities and a key exchange.
const CONNECT_LIMIT: Duration = Duration::from_millis(if cfg!(debug_assertions) { 3_000 } else { 150 });
/// How long the cache is left alone after a failure.
const REST: Duration = Duration::from_secs(5);
/// What an entry holds: anything else is none of ours.
const MEMBER: &[u8] = b"member";

/// The cache, if there is one.
pub struct Cache {
    server: Option<Server>,
    metrics: Arc<Metrics>,
}

struct Server {
    config: CacheConfig,
    link: Mutex<Link>,
    /// Held by whoever connects.
    connecting: tokio::sync::Mutex<()>,
}

/// How it stands with the server.
#[derive(Default)]
struct Link {
    connection: Option<Arc<MultiplexedConnection>>,
    /// The last failure, unless an answer has come since.
    failed_at: Option<Instant>,
}

impl Cache {
    /// Connects to nothing yet. Without settings nothing is known, and nothing is kept.
    #[must_use]
    pub fn new(config: Option<CacheConfig>, metrics: Arc<Metrics>) -> Self {
        Self { server: config.map(Server::new), metrics }
    }

    /// Whether a user is known to be a member of a room. "No" says nothing: the table has to be asked.
    pub async fn knows_member(&self, room: &RoomId, user: &UserId) -> bool {
        let Some(server) = &self.server else { return false };
        let mut request = redis::pipe();
        // To MGET an entry of another type is absent, to GET it is an error.
        request.cmd("MGET").arg(server.key(room, user));
        let found: Option<(Vec<Option<Vec<u8>>>,)> = self.ask(server, &request).await;
        let is_known =
            found.is_some_and(|(entries,)| entries.first().is_some_and(|entry| entry.as_deref() == Some(MEMBER)));
        self.metrics.add(if is_known { Count::CacheHits } else { Count::CacheMisses }, 1);
        is_known
    }

    /// Keeps what a commit has seen, in one round trip. A failure is no reason for anything.
    pub async fn keep(&self, room: &RoomId, memberships: &Memberships<'_>) {
        let (Some(server), false) = (&self.server, memberships.is_empty()) else { return };
        let mut request = redis::pipe();
        for user in &memberships.ended {
            request.cmd("DEL").arg(server.key(room, user)).ignore();
        }
        for user in &memberships.standing {
            request.cmd("SET").arg(server.key(room, user)).arg(MEMBER).arg("EX").arg(TTL_SECONDS).ignore();
        }
        self.ask::<()>(server, &request).await;
    }

    /// The answer to a request; none when there was none in time, now or a moment ago.
    async fn ask<T: FromRedisValue>(&self, server: &Server, request: &Pipeline) -> Option<T> {
        let answer = server.ask(request).await;
        answer.inspect_err(|_| self.metrics.add(Count::CacheFailures, 1)).ok().flatten()
    }
}

impl Server {
    fn new(config: CacheConfig) -> Self {
        Self { config, link: Mutex::default(), connecting: tokio::sync::Mutex::default() }
    }

    /// The key of an entry. Neither a table's name nor a room's id has a colon, and the user's id, which may, stands last.
    fn key(&self, room: &RoomId, user: &UserId) -> String {
        format!("madang:{}:member:{room}:{user}", self.config.namespace)
    }

    /// The answer to a request; none while the cache is left alone.
    async fn ask<T: FromRedisValue>(&self, request: &Pipeline) -> Result<Option<T>, RedisError> {
        if self.rests() {
            return Ok(None);
        }
        let kept = self.link().connection.clone();
        if let Some(kept) = kept
            && let Ok(answer) = self.ask_over(&kept, request).await
        {
            return Ok(Some(answer));
        }
        let Some(connection) = self.connect().await? else { return Ok(None) };
        self.ask_over(&connection, request).await.map(Some).inspect_err(|error| self.note_failure(error))
    }

    async fn ask_over<T: FromRedisValue>(
        &self,
        connection: &Arc<MultiplexedConnection>,
        request: &Pipeline,
    ) -> Result<T, RedisError> {
        let answer = request.query_async(&mut MultiplexedConnection::clone(connection)).await;
        if answer.is_ok() {
            self.note_answer();
        } else {
            self.forget(connection);
        }
        answer
    }

    /// The connection that another ask has made meanwhile, or a new one; none when the other has failed.
    async fn connect(&self) -> Result<Option<Arc<MultiplexedConnection>>, RedisError> {
        let _connecting = self.connecting.lock().await;
        let kept = self.link().connection.clone();
        if kept.is_some() || self.rests() {
            return Ok(kept);
        }
        let limits = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_LIMIT))
            .set_response_timeout(Some(ANSWER_LIMIT));
        let connection = self.config.client.get_multiplexed_async_connection_with_config(&limits).await;
        let connection = Arc::new(connection.inspect_err(|error| self.note_failure(error))?);
        self.link().connection = Some(Arc::clone(&connection));
        Ok(Some(connection))
    }

    /// Gives a connection up that has failed; another that has taken its place stays.
    fn forget(&self, failed: &Arc<MultiplexedConnection>) {
        self.link().connection.take_if(|kept| Arc::ptr_eq(kept, failed));
    }

    fn rests(&self) -> bool {
        self.link().failed_at.is_some_and(|failed_at| failed_at.elapsed() < REST)
    }

    fn note_answer(&self) {
        if self.link().failed_at.take().is_some() {
            tracing::info!("the cache answers again");
        }
    }

    fn note_failure(&self, error: &RedisError) {
        if self.link().failed_at.replace(Instant::now()).is_none() {
            tracing::warn!(
                error = cause(error),
                "the cache is left alone, and memberships are read from the table: CACHE_URL must name a server within \
                 reach, and somebody who may use it"
            );
        }
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the log is told. Of a server's answer only the code: a server that does not know a command repeats it, with
/// the password that stood in it.
fn cause(error: &RedisError) -> String {
    if error.is_io_error() {
        return error.to_string();
    }
    // One for each command of a pipeline that failed.
    let answers = error.clone().into_server_errors().unwrap_or_default();
    answers
        .first()
        .map_or_else(|| error.category().to_owned(), |(_, answer)| format!("the server answers {}", answer.code()))
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;
    use crate::config::Environment;

    /// As many as rooms at once.
    const MANY: usize = 16;

    fn server(url: &str) -> Server {
        let environment = Environment::of_pairs(&[("CACHE_URL", url), ("CHAT_TABLE", "chat")]);
        Server::new(CacheConfig::new(&environment).unwrap().unwrap())
    }

    fn cache(url: &str) -> Cache {
        Cache { server: Some(server(url)), metrics: Arc::default() }
    }

    async fn knows_alice(cache: &Cache) -> bool {
        cache.knows_member(&"room".parse().unwrap(), &"alice".parse().unwrap()).await
    }

    fn counted(cache: &Cache) -> Value {
        Value::Object(cache.metrics.take())
    }

    /// What only looks like a server: its address, and the first that it hears on each connection, which it answers and
    /// closes.
    async fn pretend(answer: &'static str) -> (String, UnboundedReceiver<Vec<u8>>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (hear, heard) = unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut bytes = vec![0; 1_024];
                let count = stream.read(&mut bytes).await.unwrap_or_default();
                bytes.truncate(count);
                drop(hear.send(bytes));
                drop(stream.write_all(answer.as_bytes()).await);
            }
        });
        (address, heard)
    }

    #[tokio::test]
    async fn whoever_connects_at_once_shares_a_connection() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let server = server(&format!("redis://{}", listener.local_addr().unwrap()));
        for _ in 0..2 {
            let connections = join_all((0..MANY).map(|_| server.connect())).await;
            let connections: Vec<_> = connections.into_iter().map(|connection| connection.unwrap().unwrap()).collect();
            assert!(connections.iter().all(|connection| Arc::ptr_eq(connection, &connections[0])));
            assert_eq!(std::iter::from_fn(|| listener.accept().ok()).count(), 1);
            server.forget(&connections[0]);
        }
    }

    #[tokio::test]
    async fn a_connection_that_fails_fails_once_for_all() {
        // What asks for a password connects in two steps.
        let cache = cache(&format!("redis://:a-secret@{}", pretend("").await.0));
        assert_eq!(join_all((0..MANY).map(|_| knows_alice(&cache))).await, [false; MANY]);
        assert_eq!(counted(&cache), json!({"CacheFailures": 1, "CacheMisses": MANY}));
    }

    /// Two asks may fail with one connection, the second of them when another has taken its place.
    #[tokio::test]
    async fn only_the_connection_that_has_failed_is_given_up() {
        let server = server(&format!("redis://{}", pretend("").await.0));
        let connect = async || server.connect().await.unwrap().unwrap();
        let first = connect().await;
        server.forget(&first);
        let second = connect().await;
        server.forget(&first);
        assert!(Arc::ptr_eq(&second, &connect().await));
    }

    #[tokio::test]
    async fn after_a_failure_the_cache_is_left_alone_for_a_while() {
        let (address, mut heard) = pretend("").await;
        let cache = cache(&format!("redis://{address}"));
        for _ in 0..4 {
            assert!(!knows_alice(&cache).await);
        }
        let alice = "alice".parse().unwrap();
        let seen = Memberships { standing: vec![&alice], ended: Vec::new() };
        cache.keep(&"room".parse().unwrap(), &seen).await;
        assert_eq!(counted(&cache), json!({"CacheFailures": 1, "CacheMisses": 4}));
        *cache.server.as_ref().unwrap().link().failed_at.as_mut().unwrap() -= REST;
        assert!(!knows_alice(&cache).await);
        assert_eq!(counted(&cache), json!({"CacheFailures": 1, "CacheMisses": 1}));
        assert_eq!(std::iter::from_fn(|| heard.try_recv().ok()).count(), 2, "one for each failure");
    }

    #[tokio::test]
    async fn only_an_entry_of_ours_is_a_yes() {
        for (answer, known) in [
            ("*1\r\n$6\r\nmember\r\n", true),
            ("*1\r\n$-1\r\n", false),
            ("*1\r\n$5\r\nowner\r\n", false),
            ("*1\r\n$0\r\n\r\n", false),
            ("*0\r\n", false),
            ("*2\r\n$-1\r\n$6\r\nmember\r\n", false),
            ("*1\r\n:1\r\n", false),
            ("+member\r\n", false),
            ("-LOADING the dataset\r\n", false),
            ("HTTP/1.1 400 Bad Request\r\n\r\n", false),
        ] {
            let cache = cache(&format!("redis://{}", pretend(answer).await.0));
            assert_eq!(knows_alice(&cache).await, known, "{answer:?}");
        }
    }

    #[tokio::test]
    async fn without_a_cache_nothing_is_asked_and_nothing_counted() {
        let cache = Cache::new(None, Arc::default());
        assert!(!knows_alice(&cache).await);
        assert_eq!(counted(&cache), json!({}));
    }

    /// A server repeats what it does not understand, the password among it.
    #[tokio::test]
    async fn the_log_is_told_no_more_than_the_code_of_an_answer() {
        let answer = "-ERR unknown command `AUTH`, with args beginning with: `a-secret`\r\n";
        let server = server(&format!("redis://{}", pretend(answer).await.0));
        let error = server.ask::<()>(redis::pipe().cmd("PING")).await.err().unwrap();
        assert!(error.to_string().contains("a-secret"), "{error}");
        assert_eq!(cause(&error), "the server answers ERR");
    }

    #[tokio::test]
    async fn over_tls_nothing_is_said_in_the_clear() {
        let (address, mut heard) = pretend("").await;
        let url = format!("rediss://:a-secret@{address}");
        server(&url).ask::<()>(redis::pipe().cmd("PING")).await.unwrap_err();
        let hello = heard.try_recv().unwrap();
        assert_eq!(hello.get(..2), Some([22, 3].as_slice()), "a handshake record of TLS");
    }

    proptest::proptest! {
        /// So no two memberships share an entry.
        #[test]
        fn a_key_can_be_taken_apart(room in "[A-Za-z0-9._~-]{1,64}", user in "[^\\p{Cc}]{1,30}") {
            let key = server("redis://127.0.0.1").key(&room.parse().unwrap(), &user.parse().unwrap());
            let parts = key.strip_prefix("madang:chat:member:").and_then(|rest| rest.split_once(':'));
            proptest::prop_assert_eq!(parts, Some((room.as_str(), user.as_str())));
        }
    }
}

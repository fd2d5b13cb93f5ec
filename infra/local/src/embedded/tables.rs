//! The embedded DynamoDB: dynoxide's HTTP server on a loopback port, on SQLite in memory or in one file.
//!
//! dynoxide answers the pages of every site, as DynamoDB does, but checks no signature, and whatever stood in front of
//! it could be passed by on its own port. So it listens where no page finds it: see [`listen`].
//!
//! What differs from the service: writes are one at a time, so no transaction ever conflicts; every table is active at
//! once; items past their expiry are removed when the tables are opened and otherwise stay.
//!
//! SQLite blocks the thread that asks it, so the server has threads of its own.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
};

use dynoxide::Database;
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
    task::JoinHandle,
};

/// The file in the data directory that holds every table.
const FILE: &str = "tables.db";
const THREAD_COUNT: usize = 2;

/// The running table server; dropping it ends it in the middle of its requests.
pub(crate) struct Tables {
    endpoint: String,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<Result<(), String>>>,
    threads: Option<Runtime>,
}

/// Why there is no embedded DynamoDB.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TablesError {
    /// The port or the threads could not be had.
    #[error("the embedded tables did not start: {0}")]
    Io(#[from] io::Error),
    /// The data directory could not be made.
    #[error("the directory {0}, which --data names, cannot be used: {1}")]
    Directory(PathBuf, io::Error),
    /// The data directory's name cannot be handed on.
    #[error("the data directory's name is not valid Unicode")]
    Name,
    /// The file of the tables could not be opened.
    #[error("the tables, which --data may name, could not be opened: {0}")]
    Open(#[from] dynoxide::DynoxideError),
}

impl Tables {
    /// Serves the tables of a data directory (made when it is missing), or empty ones in memory.
    ///
    /// # Errors
    /// As [`TablesError`] says.
    pub(crate) async fn start(data: Option<&Path>) -> Result<Self, TablesError> {
        let directory = data.map(Path::to_path_buf);
        let opened = tokio::task::spawn_blocking(move || open(directory));
        let database = opened.await.map_err(io::Error::other)??;
        let listener = listen()?;
        listener.set_nonblocking(true)?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let threads =
            Builder::new_multi_thread().worker_threads(THREAD_COUNT).thread_name("tables").enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let server = threads.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).map_err(|error| error.to_string())?;
            // A dropped sender means the same as a message: stop.
            dynoxide::server::serve_with_shutdown(listener, database, async move { drop(stopped.await) }).await
        });
        Ok(Self { endpoint, stop: Some(stop), server: Some(server), threads: Some(threads) })
    }

    /// The endpoint for `AWS_ENDPOINT_URL_DYNAMODB`, without a trailing slash.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Lets running requests finish, then closes the file.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        let Some(server) = self.server.take() else { return };
        match server.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(error, "the embedded tables ended with an error"),
            Err(error) => tracing::error!(%error, "the embedded tables' server failed"),
        }
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        // Waiting for the threads is not possible on a thread of another runtime.
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

/// Any port of a loopback address that nobody can guess, where the system has more than 127.0.0.1, as Linux does.
fn listen() -> io::Result<TcpListener> {
    let [second, third, fourth] = rand::random();
    TcpListener::bind((Ipv4Addr::new(127, second, third, fourth), 0))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
}

fn open(directory: Option<PathBuf>) -> Result<Database, TablesError> {
    let Some(directory) = directory else { return Ok(Database::memory()?) };
    if let Err(error) = std::fs::create_dir_all(&directory) {
        return Err(TablesError::Directory(directory, error));
    }
    let file = directory.join(FILE);
    let database = Database::new(file.to_str().ok_or(TablesError::Name)?)?;
    // Leaves SQLite's `synchronous` at NORMAL: with its write-ahead log a killed process loses nothing, and only a
    // machine that loses power may lose the last transactions. FULL would wait for the disk on every write.
    database.disable_bulk_loading()?;
    let expired_count = database.sweep_ttl()?;
    if expired_count > 0 {
        tracing::info!(expired_count, "expired items were removed from the tables");
    }
    Ok(database)
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpStream};

    use aws_sdk_dynamodb::types::AttributeValue;

    use super::*;
    use crate::provision;

    async fn put_and_get(tables: &Tables, put: Option<&str>) -> Option<String> {
        let client = provision::dynamodb(tables.endpoint());
        let text = |value: &str| AttributeValue::S(value.into());
        if let Some(value) = put {
            let put = client.put_item().table_name("chat").item("PK", text("ROOM#r")).item("SK", text("HEAD"));
            put.item("name", text(value)).send().await.unwrap();
        }
        let get = client.get_item().table_name("chat").key("PK", text("ROOM#r")).key("SK", text("HEAD"));
        let item = get.consistent_read(true).send().await.unwrap().item?;
        item["name"].as_s().ok().cloned()
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_page_does_not_find_the_tables() {
        let (tables, others) = (Tables::start(None).await.unwrap(), Tables::start(None).await.unwrap());
        let address = |tables: &Tables| -> SocketAddr { tables.endpoint().replace("http://", "").parse().unwrap() };
        let (tables, others) = (address(&tables), address(&others));
        assert!(tables.ip().is_loopback() && tables.ip() != others.ip(), "{tables} {others}");
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, tables.port())).is_err(), "{tables}");
    }

    #[tokio::test]
    async fn a_data_directory_keeps_the_tables_and_memory_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("new").join("data");
        for (data, kept) in [(Some(data.as_path()), Some("마당")), (None, None)] {
            let tables = Tables::start(data).await.unwrap();
            provision::create_tables(tables.endpoint()).await.unwrap();
            assert_eq!(put_and_get(&tables, Some("마당")).await.as_deref(), Some("마당"));
            tables.stop().await;

            let tables = Tables::start(data).await.unwrap();
            provision::create_tables(tables.endpoint()).await.unwrap();
            assert_eq!(put_and_get(&tables, None).await.as_deref(), kept);
            tables.stop().await;
        }
    }
}

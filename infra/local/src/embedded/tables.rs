//! The embedded DynamoDB: dynoxide's HTTP server on a loopback port, on SQLite in memory or in one file.
//!
//! Writes are one at a time, so it never answers with a transaction conflict.

use std::{io, path::Path};

use dynoxide::Database;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

/// The file in the data directory that holds every table.
const FILE: &str = "tables.db";

/// The running table server.
pub(crate) struct Tables {
    endpoint: String,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), String>>,
}

/// Why there is no embedded DynamoDB.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TablesError {
    /// The data directory or the port could not be had.
    #[error("the embedded tables did not start: {0}")]
    Io(#[from] io::Error),
    /// The data directory's name cannot be handed on.
    #[error("the data directory's name is not valid Unicode")]
    Name,
    /// The file of the tables could not be opened.
    #[error("the tables could not be opened: {0}")]
    Open(#[from] dynoxide::DynoxideError),
}

impl Tables {
    /// Serves the tables of a data directory (made when it is missing), or empty ones in memory.
    ///
    /// # Errors
    /// As [`TablesError`] says.
    pub(crate) async fn start(data: Option<&Path>) -> Result<Self, TablesError> {
        let database = open(data)?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(dynoxide::server::serve_with_shutdown(listener, database, async move {
            // A dropped sender means the same as a message: stop.
            drop(stopped.await);
        }));
        Ok(Self { endpoint, stop, server })
    }

    /// The endpoint for `AWS_ENDPOINT_URL_DYNAMODB`, without a trailing slash.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Lets running requests finish, then closes the file.
    pub(crate) async fn stop(self) {
        // A server that has ended already needs no message.
        self.stop.send(()).ok();
        match self.server.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(error, "the embedded tables ended with an error"),
            Err(error) => tracing::error!(%error, "the embedded tables' server failed"),
        }
    }
}

fn open(data: Option<&Path>) -> Result<Database, TablesError> {
    let Some(directory) = data else { return Ok(Database::memory()?) };
    std::fs::create_dir_all(directory)?;
    let file = directory.join(FILE);
    Ok(Database::new(file.to_str().ok_or(TablesError::Name)?)?)
}

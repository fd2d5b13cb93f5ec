//! A way to a server that can be shut, so that the server is away for one system while its data stays.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How the way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Everything passes.
    Open,
    /// Connections break, and new ones end at once.
    Broken,
    /// Nothing passes any more, and nobody is told.
    Silent,
}

/// A way to a server.
pub struct Gate {
    address: SocketAddr,
    way: watch::Sender<Way>,
    doorkeeper: JoinHandle<()>,
}

impl Gate {
    /// A way to a server, by its URL; it is open.
    ///
    /// # Panics
    /// There is no free port.
    pub async fn to(url: &str) -> Self {
        let server = url.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (way, seen) = watch::channel(Way::Open);
        let doorkeeper = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(pass(stream, server.clone(), seen.clone()));
            }
        });
        Self { address, way, doorkeeper }
    }

    /// The URL of this end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Opens or shuts the way.
    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.doorkeeper.abort();
    }
}

/// Passes one connection on while the way is open.
async fn pass(mut stream: TcpStream, server: String, mut way: watch::Receiver<Way>) {
    if *way.borrow_and_update() == Way::Open {
        let Ok(mut onward) = TcpStream::connect(&server).await else { return };
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut stream, &mut onward) => return,
            _ = way.wait_for(|way| *way != Way::Open) => {}
        }
    }
    if *way.borrow() == Way::Silent {
        // Held, and never read.
        drop(way.wait_for(|way| *way != Way::Silent).await);
    }
}

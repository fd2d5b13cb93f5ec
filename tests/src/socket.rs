//! One WebSocket connection, whatever is spoken on it. It reads only while a test waits for something.

use std::fmt;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::deadline::PATIENCE;

/// How many texts a failure shows.
const SHOWN_MAX: usize = 40;

/// A handshake that was refused.
#[derive(Debug)]
pub struct Refused {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// How the other side closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The close code; none when the connection just ended.
    pub code: Option<u16>,
}

/// A connection.
pub(crate) struct Socket {
    user: String,
    subprotocols: Vec<String>,
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    seen: Vec<String>,
    closed: Option<Closed>,
}

impl Socket {
    /// Opens a connection.
    ///
    /// # Errors
    /// How the handshake was refused.
    pub(crate) async fn open(user: &str, address: &str, headers: &[(&str, &str)]) -> Result<Self, Refused> {
        let mut request = address.into_client_request().expect("an address");
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a header name");
            request.headers_mut().insert(name, HeaderValue::from_str(value).expect("a header value"));
        }
        let opened = tokio::time::timeout(PATIENCE, connect_async(request)).await;
        let (stream, response) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(Error::Http(response))) => {
                let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
                return Err(Refused { status: response.status().as_u16(), body });
            }
            Ok(Err(error)) => panic!("{user}: the handshake failed: {error}"),
            Err(_) => panic!("{user}: no handshake within {PATIENCE:?}"),
        };
        let subprotocols = response.headers().get_all("sec-websocket-protocol").iter();
        let subprotocols = subprotocols.map(|value| value.to_str().expect("text").to_owned()).collect();
        Ok(Self { user: user.to_owned(), subprotocols, stream, seen: Vec::new(), closed: None })
    }

    /// The subprotocols that the handshake's answer named.
    pub(crate) fn subprotocols(&self) -> &[String] {
        &self.subprotocols
    }

    /// Sends a message; a connection that is closed meanwhile is noticed when something is awaited.
    pub(crate) async fn send(&mut self, message: Message) {
        match self.stream.send(message).await {
            Ok(()) | Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Io(_) | Error::Protocol(_)) => {}
            Err(error) => panic!("{}: a frame cannot be sent: {error}", self.user),
        }
    }

    /// How the other side closed, as far as was heard.
    pub(crate) const fn closed(&self) -> Option<&Closed> {
        self.closed.as_ref()
    }

    /// The next text; none when the other side has closed instead.
    ///
    /// # Panics
    /// Nothing comes in time, or it is closed already.
    pub(crate) async fn hear(&mut self, awaited: &str) -> Option<String> {
        assert!(self.closed.is_none(), "{self}: closed while waiting for {awaited}");
        loop {
            let Ok(heard) = tokio::time::timeout(PATIENCE, self.stream.next()).await else {
                panic!("{self}: not within {PATIENCE:?}: {awaited}");
            };
            match heard {
                Some(Ok(Message::Text(text))) => {
                    self.seen.push(text.to_string());
                    return Some(text.to_string());
                }
                Some(Ok(Message::Close(frame))) => {
                    self.seen.push(format!("{frame:?}"));
                    self.closed = Some(Closed { code: frame.map(|frame| frame.code.into()) });
                    return None;
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(other)) => panic!("{self}: a frame that is not text: {other:?}"),
                None | Some(Err(_)) => {
                    self.closed = Some(Closed { code: None });
                    return None;
                }
            }
        }
    }
}

/// Whose it is, and the last texts, for a failure.
impl fmt::Display for Socket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.seen.len().saturating_sub(SHOWN_MAX);
        let shown = self.seen.get(first..).unwrap_or_default().join("\n  ");
        write!(formatter, "{} (the last of {} texts:\n  {shown}\n)", self.user, self.seen.len())
    }
}

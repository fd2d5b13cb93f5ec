//! Ports for other programs, and a process's TCP connections, as Linux shows them.

use std::collections::HashSet;
use std::net::TcpListener;
use std::ops::Range;

/// Below the ports that systems take for outgoing connections and for listeners that name none.
const PORTS: Range<u16> = 20_000..32_768;
/// How many ports are tried.
const TRIES_MAX: usize = 1000;

/// How a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Both sides may send.
    Open,
    /// The other side has closed it, and this one has not noticed yet.
    ClosedByPeer,
}

/// A port that nobody listens on, for a program that must be told one. No system gives it to whoever asks for any, so it
/// stays free until the program starts, and while it is started again.
///
/// # Panics
/// There is none.
#[must_use]
pub fn free_port() -> u16 {
    let mut tried = (0..TRIES_MAX).map(|_| rand::random_range(PORTS));
    tried.find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok()).expect("a free port")
}

/// The connections of a process to these ports.
///
/// # Panics
/// The system is not Linux, or a line of its table has another form.
#[must_use]
pub fn connections_of(pid: i32, ports: &[u16]) -> Vec<State> {
    let links = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    let links = links.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let sockets: HashSet<String> = links.map(|link| link.to_string_lossy().into_owned()).collect();
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux has it");
    let connection = |line: &str| {
        // Number, local address, remote address, state, …, inode in the tenth place.
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, port) = fields.get(2)?.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let is_ours = ports.contains(&port) && sockets.contains(&format!("socket:[{}]", fields.get(9)?));
        match *fields.get(3)? {
            "01" if is_ours => Some(State::Open),
            "08" if is_ours => Some(State::ClosedByPeer),
            _ => None,
        }
    };
    table.lines().filter_map(connection).collect()
}

//! A process's TCP connections, as Linux shows them.

use std::collections::HashSet;

/// How a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Both sides may send.
    Open,
    /// The other side has closed it, and this one has not noticed yet.
    ClosedByPeer,
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

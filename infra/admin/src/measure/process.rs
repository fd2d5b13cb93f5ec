//! What Linux knows about a running process.

use std::io;
use std::path::Path;

/// A file of `/proc` that could not be read, and why.
pub(crate) type ProcessError = (String, io::Error);

/// Its resident memory.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64, ProcessError> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).map_err(|cause| (path.clone(), cause))?;
    resident_bytes_of(&status).ok_or_else(|| (path, io::Error::from(io::ErrorKind::InvalidData)))
}

fn resident_bytes_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1_024)
}

/// The environment variables that it was started with.
pub(crate) fn variables(pid: u32) -> Result<Vec<(String, String)>, ProcessError> {
    let path = format!("/proc/{pid}/environ");
    let block = std::fs::read(&path).map_err(|cause| (path, cause))?;
    Ok(variables_of(&block))
}

fn variables_of(block: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(block);
    let entries = text.split('\0').filter_map(|entry| entry.split_once('='));
    entries.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Whether it runs this binary.
pub(crate) fn runs(pid: u32, binary: &Path) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path == binary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read() {
        assert_eq!(resident_bytes_of("Name:\tx\nVmRSS:\t    1234 kB\n"), Some(1_234 * 1_024));
        assert_eq!(resident_bytes_of("Name:\tx\n"), None);
        let expected = [("A", "1"), ("B", "x=y"), ("C", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(variables_of(b"A=1\0B=x=y\0C=\0"), expected);
        assert!(resident_bytes(std::process::id()).unwrap() > 0);
    }
}

//! Client frames: text to command, headers and body, without a copy of what has no escape.
//!
//! Line ends may be LF or CRLF, and any number of them may stand between frames. Of a repeated header the first counts.
//! `content-length` counts bytes; without it the body ends at the first NUL.

use std::borrow::Cow;

use super::escape::unescape;
use super::{ProtocolError, Version};
use crate::limits::{STOMP_HEADER_LINE_MAX_BYTES, STOMP_HEADERS_MAX};
use crate::text::whole_number;

/// What a client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// `CONNECT` or `STOMP`.
    Connect,
    /// `SEND`.
    Send,
    /// `SUBSCRIBE`.
    Subscribe,
    /// `UNSUBSCRIBE`.
    Unsubscribe,
    /// `DISCONNECT`.
    Disconnect,
    /// `ACK` or `NACK`.
    Acknowledge,
    /// `BEGIN`, `COMMIT` or `ABORT`.
    Transaction,
}

impl Command {
    fn parse(line: &str) -> Result<Self, ProtocolError> {
        Ok(match line {
            "CONNECT" | "STOMP" => Self::Connect,
            "SEND" => Self::Send,
            "SUBSCRIBE" => Self::Subscribe,
            "UNSUBSCRIBE" => Self::Unsubscribe,
            "DISCONNECT" => Self::Disconnect,
            "ACK" | "NACK" => Self::Acknowledge,
            "BEGIN" | "COMMIT" | "ABORT" => Self::Transaction,
            _ => return Err(ProtocolError::Command),
        })
    }
}

/// One client frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What is said.
    pub command: Command,
    headers: Vec<Header<'a>>,
    /// What stands below the headers.
    pub body: &'a str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Header<'a> {
    name: Cow<'a, str>,
    value: Cow<'a, str>,
    /// The value as it was written.
    raw: &'a str,
}

impl<'a> Frame<'a> {
    /// A header's value; of several the first.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.find(name).map(|header| header.value.as_ref())
    }

    /// A header's value as the client wrote it, to be given back so: clients that escape nothing, or not as their version
    /// wants it, know their own words again.
    #[must_use]
    pub fn raw_header(&self, name: &str) -> Option<&'a str> {
        self.find(name).map(|header| header.raw)
    }

    fn find(&self, name: &str) -> Option<&Header<'a>> {
        self.headers.iter().find(|header| header.name == name)
    }
}

/// The frames of one WebSocket message.
#[derive(Debug)]
pub struct Frames<'a> {
    rest: &'a str,
}

impl<'a> Frames<'a> {
    /// Of this message.
    #[must_use]
    pub const fn new(message: &'a str) -> Self {
        Self { rest: message }
    }

    /// The next frame, if there is one. The version is what CONNECT settled; before that nothing is escaped.
    ///
    /// # Errors
    /// What about it is no frame; nothing behind it can be read.
    pub fn next(&mut self, version: Option<Version>) -> Result<Option<Frame<'a>>, ProtocolError> {
        self.rest = self.rest.trim_start_matches(['\n', '\r']);
        if self.rest.is_empty() {
            return Ok(None);
        }
        let command = Command::parse(self.line()?)?;
        // Nothing is escaped in CONNECT, in any version.
        let version = version.filter(|_| command != Command::Connect).unwrap_or(Version::V10);
        let headers = self.headers(version)?;
        let mut frame = Frame { command, headers, body: "" };
        frame.body = self.body(frame.header("content-length"))?;
        if !frame.body.is_empty() && command != Command::Send {
            return Err(ProtocolError::Body);
        }
        Ok(Some(frame))
    }

    fn headers(&mut self, version: Version) -> Result<Vec<Header<'a>>, ProtocolError> {
        let mut headers = Vec::with_capacity(8);
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(headers);
            }
            if headers.len() == STOMP_HEADERS_MAX {
                return Err(ProtocolError::TooLarge);
            }
            let (name, raw) = line.split_once(':').ok_or(ProtocolError::Header)?;
            if name.is_empty() {
                return Err(ProtocolError::Header);
            }
            headers.push(Header { name: unescape(version, name)?, value: unescape(version, raw)?, raw });
        }
    }

    /// One line of the head, without its end.
    fn line(&mut self) -> Result<&'a str, ProtocolError> {
        let (line, rest) = self.rest.split_once('\n').ok_or(ProtocolError::Split)?;
        if line.len() > STOMP_HEADER_LINE_MAX_BYTES {
            return Err(ProtocolError::TooLarge);
        }
        // The frame ended in its head, and what looks like its next line belongs to another one.
        if line.contains('\0') {
            return Err(ProtocolError::Header);
        }
        self.rest = rest;
        Ok(line.strip_suffix('\r').unwrap_or(line))
    }

    fn body(&mut self, content_length: Option<&str>) -> Result<&'a str, ProtocolError> {
        let length = match content_length {
            None => self.rest.find('\0').ok_or(ProtocolError::Split)?,
            Some(length) => whole_number(length).ok_or(ProtocolError::ContentLength)?,
        };
        if self.rest.len() <= length {
            return Err(ProtocolError::Split);
        }
        let (body, rest) = self.rest.split_at_checked(length).ok_or(ProtocolError::ContentLength)?;
        self.rest = rest.strip_prefix('\0').ok_or(ProtocolError::ContentLength)?;
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The frames of a message, as command, headers and body.
    fn read(version: Option<Version>, message: &str) -> Result<Vec<Frame<'_>>, ProtocolError> {
        let mut frames = Frames::new(message);
        let mut read = Vec::new();
        while let Some(frame) = frames.next(version)? {
            read.push(frame);
        }
        Ok(read)
    }

    fn refused(message: &str) -> ProtocolError {
        read(Some(Version::V12), message).unwrap_err()
    }

    #[test]
    fn reads_several_frames_and_what_stands_between_them() {
        let message = "\nSEND\r\ndestination:/a\r\n\r\nhi\0\n\r\n\nACK\nid:1\n\n\0\nSTOMP\naccept-version:1.2\n\n\0\n";
        let frames = read(Some(Version::V12), message).unwrap();
        let commands: Vec<Command> = frames.iter().map(|frame| frame.command).collect();
        assert_eq!(commands, [Command::Send, Command::Acknowledge, Command::Connect]);
        assert_eq!((frames[0].header("destination"), frames[0].body), (Some("/a"), "hi"));
        assert_eq!(read(None, "\n\r\n"), Ok(Vec::new()));
        assert_eq!(read(None, ""), Ok(Vec::new()));
    }

    /// Servers disagreed on which of repeated headers counts: go-stomp/stomp#65, zslayton/stomp-rs#21.
    #[test]
    fn the_first_of_repeated_headers_counts_and_nothing_is_trimmed() {
        let frames = read(Some(Version::V12), "SEND\na:1\na:2\n b : x:y \n\n\0").unwrap();
        assert_eq!(frames[0].header("a"), Some("1"));
        assert_eq!(frames[0].header(" b "), Some(" x:y "));
        assert_eq!(frames[0].header("b"), None);
    }

    /// Characters were counted for bytes: jmesnil/stomp-websocket#44, stomp-js/stompjs#367.
    #[test]
    fn content_length_counts_bytes() {
        let frame = |length: usize| format!("SEND\ncontent-length:{length}\n\n안\0녕\0");
        let text = frame("안\0녕".len());
        assert_eq!(read(Some(Version::V12), &text).unwrap()[0].body, "안\0녕");
        assert_eq!(refused(&frame(3)), ProtocolError::Split, "the rest is no frame");
        assert_eq!(refused(&frame(4)), ProtocolError::ContentLength, "no NUL behind it");
        assert_eq!(refused(&frame(1)), ProtocolError::ContentLength, "inside a character");
        assert_eq!(refused(&frame(8)), ProtocolError::Split);
        assert_eq!(refused(&frame(usize::MAX)), ProtocolError::Split);
        for odd in ["", "-1", "+2", "1e3", " 2", "99999999999999999999999"] {
            assert_eq!(refused(&format!("SEND\ncontent-length:{odd}\n\nhi\0")), ProtocolError::ContentLength, "{odd}");
        }
    }

    #[test]
    fn escapes_are_those_of_the_version_and_connect_has_none() {
        let message = "SEND\na\\c:x\\ny\n\n\0";
        assert_eq!(read(Some(Version::V12), message).unwrap()[0].header("a:"), Some("x\ny"));
        assert_eq!(read(Some(Version::V10), message).unwrap()[0].header("a\\c"), Some("x\\ny"));
        assert_eq!(refused("SEND\na:\\t\n\n\0"), ProtocolError::Escape);
        let connect = "CONNECT\npasscode:a\\tb\n\n\0";
        assert_eq!(read(Some(Version::V12), connect).unwrap()[0].header("passcode"), Some("a\\tb"));
    }

    #[test]
    fn refuses_what_is_no_frame() {
        for split in ["SEND", "SEND\n", "SEND\na:b\n", "SEND\na:b\n\n", "SEND\n\nhi", "S"] {
            assert_eq!(refused(split), ProtocolError::Split, "{split:?}");
        }
        for odd in ["send\n\n\0", "CONNECTED\n\n\0", "{\"action\":\"ping\"}\n\n\0", " SEND\n\n\0"] {
            assert_eq!(refused(odd), ProtocolError::Command, "{odd:?}");
        }
        assert_eq!(refused("SEND\nno colon\n\n\0"), ProtocolError::Header);
        assert_eq!(refused("SEND\n:x\n\n\0"), ProtocolError::Header);
        assert_eq!(refused("SEND\na:b\0SEND\n\n\0"), ProtocolError::Header);
        assert_eq!(refused("ACK\nid:1\n\nbody\0"), ProtocolError::Body);
        let many = format!("SEND\n{}\n\0", "a:b\n".repeat(STOMP_HEADERS_MAX + 1));
        assert_eq!(refused(&many), ProtocolError::TooLarge);
        let long = format!("SEND\na:{}\n\n\0", "b".repeat(STOMP_HEADER_LINE_MAX_BYTES));
        assert_eq!(refused(&long), ProtocolError::TooLarge);
    }

    proptest::proptest! {
        /// However valid frames are put into WebSocket messages, they read the same.
        #[test]
        fn frames_read_the_same_however_they_are_put_together(
            frames in proptest::collection::vec(("[a-z:]{1,8}", "[^\\x00]{0,12}", "(\\n|\\r\\n){0,3}"), 1..6),
            cut in 0_usize..6,
        ) {
            let text = |(value, body, between): &(String, String, String)| {
                format!("SEND\nx:{value}\ncontent-length:{}\n\n{body}\0{between}", body.len())
            };
            let texts: Vec<String> = frames.iter().map(text).collect();
            let (one, two) = texts.split_at(cut.min(texts.len()));
            let mut read_back = Vec::new();
            let messages = [one.concat(), two.concat()];
            for message in &messages {
                for frame in read(Some(Version::V12), message).unwrap() {
                    read_back.push((frame.header("x").unwrap().to_owned(), frame.body.to_owned()));
                }
            }
            let meant: Vec<_> = frames.into_iter().map(|(value, body, _)| (value, body)).collect();
            proptest::prop_assert_eq!(read_back, meant);
        }

        /// What a client means is what is read, and what it wrote is what it gets back.
        #[test]
        fn reading_undoes_writing(values in proptest::collection::vec("[^\\x00]{0,12}", 0..8), body in "[^\\x00]{0,40}") {
            let escape = |text: &String| {
                text.replace('\\', "\\\\").replace('\r', "\\r").replace('\n', "\\n").replace(':', "\\c")
            };
            let lines = values.iter().enumerate().map(|(at, value)| format!("h{at}:{}\n", escape(value)));
            let text = format!("SEND\n{}content-length:{}\n\n{body}\0", lines.collect::<String>(), body.len());
            let frames = read(Some(Version::V12), &text).unwrap();
            proptest::prop_assert_eq!(frames.len(), 1);
            proptest::prop_assert_eq!(frames[0].body, body);
            for (at, value) in values.iter().enumerate() {
                let (name, written) = (format!("h{at}"), escape(value));
                proptest::prop_assert_eq!(frames[0].header(&name), Some(value.as_str()));
                proptest::prop_assert_eq!(frames[0].raw_header(&name), Some(written.as_str()));
            }
        }

        #[test]
        fn no_text_panics(text in "(SEND|CONNECT|ACK|\\n|\\r|:|\\x00|content-length:[0-9]{1,3}|\\\\|.){0,60}") {
            for version in [None, Some(Version::V10), Some(Version::V11), Some(Version::V12)] {
                drop(read(version, &text));
            }
        }
    }
}

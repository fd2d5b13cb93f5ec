//! Codecs: client frames in, commands out; outcomes in, server frames out. The only home of what stands on a socket.

pub mod frame;
pub mod json;

//! Any bytes as a WebSocket message in STOMP: `cargo fuzz run --fuzz-dir common/fuzz --sanitizer none stomp`.

#![no_main]

#[path = "../property.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        property::holds(text);
    }
});

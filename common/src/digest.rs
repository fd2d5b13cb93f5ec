//! Short digests of texts. Rooms are found by them, and what was accepted is known by them: they must never change.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The first 16 bytes of a text's SHA-256, in URL-safe base64.
#[must_use]
pub fn digest(text: &str) -> String {
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    URL_SAFE_NO_PAD.encode(hash.as_ref().get(..16).unwrap_or_default())
}

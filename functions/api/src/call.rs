//! What a call brings: its caller, query, body and key.

use common::code::{ErrorCode, Refusal};
use common::fields::Fields;
use common::id::UserId;
use common::limits::{HTTP_BODY_MAX_BYTES, IDEMPOTENCY_KEY_MAX_BYTES};
use common::text::whole_number;
use common::time::Time;
use lambda_http::Request;

use crate::encoded;

/// A call of an authenticated user.
#[derive(Debug)]
pub(crate) struct Call {
    /// The token's subject.
    pub(crate) user: UserId,
    /// When the call was received.
    pub(crate) now: Time,
    /// The `Idempotency-Key` header.
    pub(crate) idempotency_key: Option<String>,
    query: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Call {
    /// Reads a request.
    ///
    /// # Errors
    /// The query is not UTF-8, the body is too long, or the key is too long, empty, or not of printable ASCII.
    pub(crate) fn read(request: &Request, user: UserId, now: Time) -> Result<Self, Refusal> {
        let body = request.body().as_ref().to_vec();
        if body.len() > HTTP_BODY_MAX_BYTES {
            return Err(ErrorCode::ContentTooLong.into());
        }
        let key = request.headers().get("idempotency-key").map(|key| key.to_str().unwrap_or_default().to_owned());
        let is_key = |key: &String| {
            (1..=IDEMPOTENCY_KEY_MAX_BYTES).contains(&key.len()) && key.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        };
        if !key.as_ref().is_none_or(is_key) {
            return Err(Refusal::field("Idempotency-Key"));
        }
        let query = query(request.uri().query().unwrap_or_default())?;
        Ok(Self { user, now, idempotency_key: key, query, body })
    }

    /// The body, which must be a JSON object.
    ///
    /// # Errors
    /// `bad_json`, `duplicate_key`.
    pub(crate) fn fields(&self) -> Result<Fields, ErrorCode> {
        Fields::parse(&self.body)
    }

    /// A query parameter.
    ///
    /// # Errors
    /// It is there twice.
    pub(crate) fn parameter(&self, name: &'static str) -> Result<Option<&str>, Refusal> {
        let mut values = self.query.iter().filter(|(other, _)| other == name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value.map(|(_, value)| value.as_str())),
            (_, Some(_)) => Err(Refusal::field(name)),
        }
    }

    /// A query parameter of a checked type.
    ///
    /// # Errors
    /// It is not of that type.
    pub(crate) fn parsed<T: std::str::FromStr>(&self, name: &'static str) -> Result<Option<T>, Refusal> {
        self.parameter(name)?.map(|text| text.parse().map_err(|_| Refusal::field(name))).transpose()
    }

    /// The `limit` parameter, from 1 to `most`.
    ///
    /// # Errors
    /// It is outside.
    pub(crate) fn limit(&self, default: usize, most: usize) -> Result<usize, Refusal> {
        let Some(limit) = self.parameter("limit")? else { return Ok(default) };
        whole_number(limit).filter(|limit| (1..=most).contains(limit)).ok_or(Refusal::field("limit"))
    }
}

fn query(text: &str) -> Result<Vec<(String, String)>, Refusal> {
    let decode = |part: &str| encoded::decode(part).ok_or(Refusal::field("query"));
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        })
        .collect()
}

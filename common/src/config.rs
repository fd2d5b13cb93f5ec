//! Settings. The one module that reads the environment: once, at start, with an error that names the variable.

use std::collections::HashMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::Algorithm;
use tracing::level_filters::LevelFilter;

use crate::limits::{
    FRAME_MAX_BYTES, PRESENCE_GRACE_DEFAULT_SECONDS, PRESENCE_GRACE_MAX_SECONDS, SESSIONS_PER_USER_DEFAULT,
    SESSIONS_PER_USER_MAX, STOMP_MESSAGE_DEFAULT_BYTES, STOMP_MESSAGE_MIN_BYTES,
};

mod cache;
mod kafka;

pub use cache::CacheConfig;
pub use kafka::{KafkaConfig, TopicPrefix, topic_care};

/// A setting is missing or wrong. It names the variable and what it should hold, never what it holds.
#[derive(PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not set.
    #[error("the environment variable {0} is not set: it holds {held}", held = held(.0))]
    Missing(&'static str),
    /// Set to something else.
    #[error("the environment variable {name} is not {expected}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// What it should hold.
        expected: &'static str,
    },
}

/// As a sentence: what `main` returns is printed so.
impl fmt::Debug for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// What the variables hold that somebody needs.
fn held(name: &str) -> &'static str {
    match name {
        "AWS_LAMBDA_FUNCTION_NAME" => "the function's name, set by Lambda itself",
        "AWS_REGION" => "the region, set by Lambda itself",
        "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => "the role's credentials, set by Lambda itself",
        "CHAT_TABLE" => "the name of the table of rooms",
        "CONNECTIONS_TABLE" => "the name of the table of connections",
        "MANAGEMENT_ENDPOINT" => "where frames are posted, https://{api}.execute-api.{region}.amazonaws.com/{stage}",
        "JWT_ALGORITHM" => "HS256, RS256, ES256 or EdDSA",
        "JWT_KEY" => "the key that tokens are checked with: base64 for HS256, else PEM, or JWT_JWKS_URL instead",
        "JWT_ISSUER" => "what `iss` of every token must be",
        "JWT_AUDIENCE" => "what the audience of every token must be",
        "CURSOR_KEY" => "the base64 of at least 32 bytes, the same for every function",
        "KAFKA_BOOTSTRAP_SERVERS" => "host:port of the brokers, separated by commas",
        "KAFKA_SASL_MECHANISM" => {
            "SCRAM-SHA-512, SCRAM-SHA-256, PLAIN, or OAUTHBEARER for MSK's IAM, unless KAFKA_SECURITY_PROTOCOL is SSL"
        }
        "KAFKA_SASL_USERNAME" | "KAFKA_SASL_PASSWORD" => "who signs in, unless KAFKA_SECURITY_PROTOCOL is SSL",
        "KAFKA_SSL_CERTIFICATE_PEM" => "the client's certificate, which belongs to KAFKA_SSL_KEY_PEM",
        "KAFKA_SSL_KEY_PEM" => "the client's key, which belongs to KAFKA_SSL_CERTIFICATE_PEM",
        _ => "what the README's settings say",
    }
}

impl ConfigError {
    pub(crate) const fn invalid(name: &'static str, expected: &'static str) -> Self {
        Self::Invalid { name, expected }
    }
}

/// The environment, read once.
#[derive(Clone)]
pub struct Environment(HashMap<String, String>);

impl Environment {
    /// The environment of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(text).collect())
    }

    /// An environment made of pairs.
    #[must_use]
    pub fn of_pairs(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    fn optional(&self, name: &'static str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn required(&self, name: &'static str) -> Result<&str, ConfigError> {
        self.optional(name).ok_or(ConfigError::Missing(name))
    }

    /// An address that calls go to. A wrong one would only be found by the client, which does not know the variable.
    fn url(&self, name: &'static str) -> Result<Option<&str>, ConfigError> {
        let url = self.optional(name);
        let has_host = |url: &str| {
            let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            host.is_some_and(|host| !host.is_empty() && !host.starts_with('/') && !host.contains(' '))
        };
        match url {
            Some(url) if !has_host(url) => Err(ConfigError::invalid(name, "a URL with https:// or http://")),
            url => Ok(url),
        }
    }

    fn flag(&self, name: &'static str) -> Result<bool, ConfigError> {
        match self.optional(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(ConfigError::invalid(name, "true or false")),
        }
    }
}

/// `AWS_LAMBDA_FUNCTION_NAME`: what this function is called where it is deployed, set by Lambda itself.
///
/// # Errors
/// It is not set.
pub fn function_name(environment: &Environment) -> Result<String, ConfigError> {
    environment.required("AWS_LAMBDA_FUNCTION_NAME").map(str::to_owned)
}

/// `AWS_LAMBDA_LOG_LEVEL`: from which level on is logged, set by Lambda itself, which has one more level than we do.
#[must_use]
pub fn log_level(environment: &Environment) -> LevelFilter {
    match environment.optional("AWS_LAMBDA_LOG_LEVEL") {
        Some("FATAL") => LevelFilter::ERROR,
        level => level.and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::INFO),
    }
}

/// Where traces are exported, and which.
pub struct TraceConfig {
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`: the base address of a collector that takes OTLP over HTTP.
    pub endpoint: String,
    /// `OTEL_EXPORTER_OTLP_HEADERS`: what a collector wants to know of who calls, `name=value` separated by commas.
    pub headers: HashMap<String, String>,
    /// `OTEL_TRACES_SAMPLER_ARG`: which share of the traces that X-Ray has not chosen, 0 to 1; all unless set.
    pub share: f64,
    /// What the function is called where it is deployed.
    pub function_name: String,
}

impl TraceConfig {
    /// From the environment; nothing when no address is set.
    ///
    /// # Errors
    /// A variable holds something else.
    pub fn new(environment: &Environment) -> Result<Option<Self>, ConfigError> {
        let Some(endpoint) = environment.optional("OTEL_EXPORTER_OTLP_ENDPOINT") else { return Ok(None) };
        let invalid =
            ConfigError::invalid("OTEL_EXPORTER_OTLP_ENDPOINT", "an address like https://collector.example:4318");
        let is_http = |uri: &http::Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
        endpoint.parse().ok().filter(is_http).ok_or(invalid)?;
        let share = environment.optional("OTEL_TRACES_SAMPLER_ARG").map_or(Ok(1.0), str::parse).ok();
        let share = share.filter(|share| (0.0..=1.0).contains(share));
        Ok(Some(Self {
            endpoint: endpoint.to_owned(),
            headers: headers(environment)?,
            share: share.ok_or(ConfigError::invalid("OTEL_TRACES_SAMPLER_ARG", "a number from 0 to 1"))?,
            function_name: function_name(environment)?,
        }))
    }
}

fn headers(environment: &Environment) -> Result<HashMap<String, String>, ConfigError> {
    let invalid =
        ConfigError::invalid("OTEL_EXPORTER_OTLP_HEADERS", "a list like authorization=Bearer%20token,team=chat");
    let list = environment.optional("OTEL_EXPORTER_OTLP_HEADERS").unwrap_or_default();
    let header = |entry: &str| {
        let (name, value) = entry.split_once('=')?;
        let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8().ok()?;
        Some((
            http::HeaderName::try_from(name.trim()).ok()?.to_string(),
            http::HeaderValue::try_from(&*value).ok()?.to_str().ok()?.to_owned(),
        ))
    };
    list.split(',').filter(|entry| !entry.trim().is_empty()).map(header).collect::<Option<_>>().ok_or(invalid)
}

/// How to call AWS: what Lambda itself sets.
#[derive(Clone)]
pub struct AwsConfig {
    /// `AWS_REGION`.
    pub region: String,
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
    pub credentials: aws_credential_types::Credentials,
}

impl AwsConfig {
    /// From the environment.
    ///
    /// # Errors
    /// A variable is not set.
    pub fn new(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            region: environment.required("AWS_REGION")?.to_owned(),
            credentials: aws_credential_types::Credentials::new(
                environment.required("AWS_ACCESS_KEY_ID")?,
                environment.required("AWS_SECRET_ACCESS_KEY")?,
                environment.optional("AWS_SESSION_TOKEN").map(str::to_owned),
                None,
                "environment",
            ),
        })
    }
}

/// Where the tables are.
#[derive(Clone)]
pub struct StoreConfig {
    /// How to call AWS.
    pub aws: AwsConfig,
    /// `CHAT_TABLE`: rooms, members, events, dedupe items.
    pub chat_table: String,
    /// `CONNECTIONS_TABLE`: connections, subscriptions, sessions.
    pub connections_table: String,
    /// `AWS_ENDPOINT_URL_DYNAMODB`: another endpoint than the region's.
    pub endpoint: Option<String>,
    /// What holds for a user's sessions, which stand in the table.
    pub sessions: SessionConfig,
}

impl StoreConfig {
    /// From the environment.
    ///
    /// # Errors
    /// A variable is not set.
    pub fn new(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            aws: AwsConfig::new(environment)?,
            chat_table: environment.required("CHAT_TABLE")?.to_owned(),
            connections_table: environment.required("CONNECTIONS_TABLE")?.to_owned(),
            endpoint: environment.url("AWS_ENDPOINT_URL_DYNAMODB")?.map(str::to_owned),
            sessions: SessionConfig::new(environment)?,
        })
    }
}

/// What holds for a user's sessions; the same for every function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionConfig {
    /// `SESSIONS_PER_USER`: how many sessions a user may have, 1 to 100, 5 unless set.
    pub per_user: usize,
    /// `SESSION_POLICY`: what happens when there is one more.
    pub policy: SessionPolicy,
    /// `PRESENCE_GRACE_SECONDS`: how long a user whose sessions have all ended is still shown as there, 60 seconds
    /// unless set; here in milliseconds.
    pub grace_ms: i64,
}

/// What happens when a user opens more sessions than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionPolicy {
    /// `replace`: the oldest gives way.
    Replace,
    /// `refuse`: the new one is refused.
    Refuse,
}

impl SessionConfig {
    /// From the environment.
    ///
    /// # Errors
    /// A variable holds something else.
    pub fn new(environment: &Environment) -> Result<Self, ConfigError> {
        let per_user = environment.optional("SESSIONS_PER_USER").map(str::parse).transpose().ok();
        let per_user = per_user.map(|count| count.unwrap_or(SESSIONS_PER_USER_DEFAULT));
        let per_user = per_user.filter(|count| (1..=SESSIONS_PER_USER_MAX).contains(count));
        let policy = match environment.optional("SESSION_POLICY") {
            None | Some("replace") => SessionPolicy::Replace,
            Some("refuse") => SessionPolicy::Refuse,
            Some(_) => return Err(ConfigError::invalid("SESSION_POLICY", "replace or refuse")),
        };
        let grace = environment.optional("PRESENCE_GRACE_SECONDS").map(str::parse).transpose().ok();
        let grace = grace.map(|seconds| seconds.unwrap_or(PRESENCE_GRACE_DEFAULT_SECONDS));
        let grace = grace.filter(|seconds| (0..=PRESENCE_GRACE_MAX_SECONDS).contains(seconds));
        Ok(Self {
            per_user: per_user.ok_or(ConfigError::invalid("SESSIONS_PER_USER", "a number from 1 to 100"))?,
            policy,
            grace_ms: grace.ok_or(ConfigError::invalid("PRESENCE_GRACE_SECONDS", "seconds, at most 3600"))? * 1_000,
        })
    }
}

/// `STOMP_MESSAGE_BYTES`: the longest WebSocket message that several STOMP frames are put into, 1,024 to 32,768 bytes,
/// 8,192 unless set: what a Spring client on Tomcat takes unless it is told otherwise.
///
/// # Errors
/// It holds something else.
pub fn stomp_message_bytes(environment: &Environment) -> Result<usize, ConfigError> {
    let bytes = environment.optional("STOMP_MESSAGE_BYTES").map(str::parse).transpose().ok();
    let bytes = bytes.map(|bytes| bytes.unwrap_or(STOMP_MESSAGE_DEFAULT_BYTES));
    let bytes = bytes.filter(|bytes| (STOMP_MESSAGE_MIN_BYTES..=FRAME_MAX_BYTES).contains(bytes));
    bytes.ok_or(ConfigError::invalid("STOMP_MESSAGE_BYTES", "a number of bytes from 1024 to 32768"))
}

/// Where frames are posted.
#[derive(Clone)]
pub struct OutboundConfig {
    /// How to call AWS.
    pub aws: AwsConfig,
    /// `MANAGEMENT_ENDPOINT`: the `@connections` API, `https://{api}.execute-api.{region}.amazonaws.com/{stage}`.
    pub endpoint: String,
}

impl OutboundConfig {
    /// From the environment.
    ///
    /// # Errors
    /// A variable is not set.
    pub fn new(environment: &Environment) -> Result<Self, ConfigError> {
        let endpoint = environment.url("MANAGEMENT_ENDPOINT")?.ok_or(ConfigError::Missing("MANAGEMENT_ENDPOINT"))?;
        Ok(Self { aws: AwsConfig::new(environment)?, endpoint: endpoint.to_owned() })
    }
}

/// How tokens are checked.
pub struct JwtConfig {
    /// `JWT_ALGORITHM`: HS256, RS256, ES256 or EdDSA.
    pub algorithm: Algorithm,
    /// `JWT_KEY` or `JWT_JWKS_URL`.
    pub key: JwtKey,
    /// `JWT_ISSUER`: what `iss` must be.
    pub issuer: String,
    /// `JWT_AUDIENCE`: what the audience claim must be, or hold.
    pub audience: String,
    /// `JWT_AUDIENCE_CLAIM`: `aud` unless set; some issuers use `client_id`.
    pub audience_claim: String,
}

/// Where the key of the tokens comes from.
pub enum JwtKey {
    /// For HS256 the secret's bytes (`JWT_KEY` holds them in base64), else a public key in PEM form.
    Static(Vec<u8>),
    /// A JSON Web Key Set at this URL.
    Jwks(String),
}

impl JwtConfig {
    /// From the environment.
    ///
    /// # Errors
    /// A variable is not set, or holds something else.
    pub fn new(environment: &Environment) -> Result<Self, ConfigError> {
        let algorithm = match environment.required("JWT_ALGORITHM")? {
            "HS256" => Algorithm::HS256,
            "RS256" => Algorithm::RS256,
            "ES256" => Algorithm::ES256,
            "EdDSA" => Algorithm::EdDSA,
            _ => return Err(ConfigError::invalid("JWT_ALGORITHM", "HS256, RS256, ES256 or EdDSA")),
        };
        let key = match (environment.url("JWT_JWKS_URL")?, algorithm) {
            (Some(_), Algorithm::HS256) => {
                return Err(ConfigError::invalid("JWT_JWKS_URL", "for HS256, which has no public key: use JWT_KEY"));
            }
            (Some(url), _) if !is_untouched(url) => {
                return Err(ConfigError::invalid("JWT_JWKS_URL", "a URL with https://, or of this machine"));
            }
            (Some(url), _) => JwtKey::Jwks(url.to_owned()),
            (None, Algorithm::HS256) => JwtKey::Static(secret(environment, "JWT_KEY")?),
            (None, _) => JwtKey::Static(environment.required("JWT_KEY")?.as_bytes().to_vec()),
        };
        Ok(Self {
            algorithm,
            key,
            issuer: environment.required("JWT_ISSUER")?.to_owned(),
            audience: environment.required("JWT_AUDIENCE")?.to_owned(),
            audience_claim: environment.optional("JWT_AUDIENCE_CLAIM").unwrap_or("aud").to_owned(),
        })
    }
}

/// Whether nobody on the way can change what a URL's server says.
fn is_untouched(url: &str) -> bool {
    let is_here =
        |host: &str| url.strip_prefix(host).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']));
    url.starts_with("https://") || ["http://127.0.0.1", "http://[::1]", "http://localhost"].into_iter().any(is_here)
}

/// The secret that signs cursors: `CURSOR_KEY`, at least 32 bytes in base64, the same for every function.
///
/// # Errors
/// It is not set, or too short.
pub fn cursor_key(environment: &Environment) -> Result<Vec<u8>, ConfigError> {
    secret(environment, "CURSOR_KEY")
}

fn secret(environment: &Environment, name: &'static str) -> Result<Vec<u8>, ConfigError> {
    STANDARD
        .decode(environment.required(name)?)
        .ok()
        .filter(|secret| secret.len() >= 32)
        .ok_or(ConfigError::invalid(name, "the base64 of at least 32 bytes"))
}

/// The origins whose pages may call: `ALLOWED_ORIGINS`, exact, separated by commas.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllowedOrigins(Vec<String>);

impl AllowedOrigins {
    /// From the environment.
    ///
    /// # Errors
    /// An entry is not an origin: scheme, host and perhaps a port, without a path.
    pub fn new(environment: &Environment) -> Result<Self, ConfigError> {
        let list = environment.optional("ALLOWED_ORIGINS").unwrap_or_default();
        let origins: Vec<String> =
            list.split(',').map(str::trim).filter(|origin| !origin.is_empty()).map(str::to_owned).collect();
        let is_origin = |origin: &String| {
            let (host, own_port) = match origin.split_once("://") {
                Some(("https", host)) => (host, ":443"),
                Some(("http", host)) => (host, ":80"),
                _ => return false,
            };
            let is_host = !host.is_empty() && !host.contains(['/', '*', '?', '#', '@', ' ']);
            // A browser says neither, so it would never match.
            let is_said_so = !host.ends_with(own_port) && !host.contains(|letter: char| letter.is_ascii_uppercase());
            is_host && is_said_so
        };
        if origins.iter().all(is_origin) {
            Ok(Self(origins))
        } else {
            let wanted = "a list of origins as browsers say them, in lower case and without the scheme's own port, like \
                          https://chat.example";
            Err(ConfigError::invalid("ALLOWED_ORIGINS", wanted))
        }
    }

    /// Whether a page of this origin may call: letter for letter one of the list.
    #[must_use]
    pub fn allows(&self, origin: &str) -> bool {
        self.0.iter().any(|allowed| allowed == origin)
    }
}

/// Whether the event source takes partial batch responses: `PARTIAL_BATCH_RESPONSES`, `false` unless set.
///
/// # Errors
/// It is neither `true` nor `false`.
pub fn partial_batch_responses(environment: &Environment) -> Result<bool, ConfigError> {
    environment.flag("PARTIAL_BATCH_RESPONSES")
}

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_have_defaults_and_bounds() {
        let read = |pairs: &[(&str, &str)]| SessionConfig::new(&Environment::of_pairs(pairs));
        let default = SessionConfig { per_user: 5, policy: SessionPolicy::Replace, grace_ms: 60_000 };
        assert_eq!(read(&[]), Ok(default));
        let set = [("SESSIONS_PER_USER", "100"), ("SESSION_POLICY", "refuse"), ("PRESENCE_GRACE_SECONDS", "0")];
        assert_eq!(read(&set), Ok(SessionConfig { per_user: 100, policy: SessionPolicy::Refuse, grace_ms: 0 }));
        for odd in [
            ("SESSIONS_PER_USER", "0"),
            ("SESSIONS_PER_USER", "101"),
            ("SESSIONS_PER_USER", "five"),
            ("SESSION_POLICY", "Refuse"),
            ("PRESENCE_GRACE_SECONDS", "-1"),
            ("PRESENCE_GRACE_SECONDS", "1m"),
        ] {
            assert!(read(&[odd]).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn traces_go_where_and_as_far_as_is_said() {
        let read = |pairs: &[(&str, &str)]| {
            let function = [("AWS_LAMBDA_FUNCTION_NAME", "f")];
            TraceConfig::new(&Environment::of_pairs(&[&function, pairs].concat()))
        };
        assert!(
            read(&[("OTEL_TRACES_SAMPLER_ARG", "x")]).unwrap().is_none(),
            "without an address nothing else is read"
        );
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector.example:4318");
        let headers = ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20a%3Db, team=chat");
        let config = read(&[endpoint, headers, ("OTEL_TRACES_SAMPLER_ARG", "0.25")]).unwrap().unwrap();
        assert_eq!((config.endpoint.as_str(), config.share), (endpoint.1, 0.25));
        assert_eq!((config.headers["authorization"].as_str(), config.headers["team"].as_str()), ("Bearer a=b", "chat"));
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://collector"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https:///v1"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "no-pair"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a b=c"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=%0A"),
            ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
            ("OTEL_TRACES_SAMPLER_ARG", "NaN"),
            ("OTEL_TRACES_SAMPLER_ARG", "parent"),
        ] {
            let error = read(&[endpoint, (name, value)]).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(name) && !error.contains(value), "{name}={value}: {error}");
        }
    }

    #[test]
    fn the_level_is_what_lambda_says() {
        let level = |value| log_level(&Environment::of_pairs(&[("AWS_LAMBDA_LOG_LEVEL", value)]));
        assert_eq!(
            ["", "DEBUG", "WARN", "FATAL", "loud"].map(level),
            [LevelFilter::INFO, LevelFilter::DEBUG, LevelFilter::WARN, LevelFilter::ERROR, LevelFilter::INFO]
        );
    }

    #[test]
    fn an_error_names_the_variable_and_never_its_value() {
        let error = StoreConfig::new(&Environment::of_pairs(&[])).err().unwrap();
        let sentence = "the environment variable AWS_REGION is not set: it holds the region, set by Lambda itself";
        assert_eq!(error.to_string(), sentence);
        let short = Environment::of_pairs(&[("CURSOR_KEY", "c2hvcnQ=")]);
        let error = cursor_key(&short).unwrap_err().to_string();
        assert_eq!(error, "the environment variable CURSOR_KEY is not the base64 of at least 32 bytes");
    }

    #[test]
    fn origins_are_compared_letter_for_letter() {
        let environment =
            Environment::of_pairs(&[("ALLOWED_ORIGINS", "https://app.example.com, http://localhost:3000")]);
        let origins = AllowedOrigins::new(&environment).unwrap();
        assert!(origins.allows("https://app.example.com"));
        assert!(origins.allows("http://localhost:3000"));
        // Lists were matched by prefix, suffix or an unescaped dot elsewhere: expressjs/cors#412, google/clusterfuzz#5303,
        // ashleysommer/sanic-cors#68 (case 35).
        for other in [
            "https://app.example.com.evil.test",
            "https://evil-app.example.com",
            "https://appXexample.com",
            "http://app.example.com",
            "https://app.example.com:8443",
            "https://app.example.com/",
            "https://APP.example.com",
            "https://app.example.com, https://evil.test",
            "https://app.example.com https://evil.test",
            "null",
            "*",
            "",
        ] {
            assert!(!origins.allows(other), "{other}");
        }
        let odds =
            ["*", "app.example.com", "https://a/b", "https://*.example.com", "https://", "https://App.example.com"];
        for odd in odds.into_iter().chain(["https://app.example.com:443", "http://app.example.com:80"]) {
            assert!(AllowedOrigins::new(&Environment::of_pairs(&[("ALLOWED_ORIGINS", odd)])).is_err(), "{odd}");
        }
    }
}

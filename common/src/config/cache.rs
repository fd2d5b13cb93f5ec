//! How the cache is reached.

use redis::{Client, ConnectionInfo, IntoConnectionInfo as _};

use super::{ConfigError, Environment};

/// How to reach the cache. Without `Debug`: the URL may hold a password.
#[derive(Clone)]
pub struct CacheConfig {
    /// The client; nothing is connected yet.
    pub client: Client,
    /// What keeps two installations apart that share a cache: the name of the table that is cached.
    pub namespace: String,
}

impl CacheConfig {
    /// From the environment: `CACHE_URL` (`redis://`, or `rediss://` over TLS, with what the system's authorities have
    /// signed) and `CHAT_TABLE`; none unless the URL is set.
    ///
    /// # Errors
    /// The URL is none, or the table's name is not set.
    pub fn new(environment: &Environment) -> Result<Option<Self>, ConfigError> {
        let Some(url) = environment.optional("CACHE_URL") else { return Ok(None) };
        let invalid = ConfigError::invalid("CACHE_URL", "a URL like rediss://user:password@host:6379");
        let client = connection(url).and_then(|connection| Client::open(connection).ok()).ok_or(invalid)?;
        Ok(Some(Self { client, namespace: environment.required("CHAT_TABLE")?.to_owned() }))
    }
}

/// What a URL says. The client knows other schemes too, and a fragment that makes TLS trust anybody.
fn connection(url: &str) -> Option<ConnectionInfo> {
    let is_ours = (url.starts_with("redis://") || url.starts_with("rediss://")) && !url.contains('#');
    let connection = is_ours.then_some(url)?.into_connection_info().ok()?;
    // Requests are small, and each is waited for. What the client would say about itself costs a round trip.
    let (tcp, redis) = (connection.tcp_settings().clone(), connection.redis_settings().clone());
    Some(connection.set_tcp_settings(tcp.set_nodelay(true)).set_redis_settings(redis.set_skip_set_lib_name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: (&str, &str) = ("CHAT_TABLE", "chat");

    fn read(url: &str) -> Result<Option<CacheConfig>, ConfigError> {
        CacheConfig::new(&Environment::of_pairs(&[("CACHE_URL", url), TABLE]))
    }

    /// The address, the user and the password.
    fn parts(url: &str) -> (String, Option<String>, Option<String>) {
        let client = read(url).unwrap_or_else(|error| panic!("{url}: {error}")).unwrap().client;
        let (info, text) = (client.get_connection_info(), |text: &str| text.to_owned());
        let redis = info.redis_settings();
        (info.addr().to_string(), redis.username().map(text), redis.password().map(text))
    }

    #[test]
    fn a_url_says_where_the_cache_is_and_who_we_are() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(parts("redis://127.0.0.1"), ("127.0.0.1:6379".to_owned(), None, None));
        assert_eq!(parts("rediss://cache.invalid:6380/1"), ("cache.invalid:6380".to_owned(), None, None));
        assert_eq!(parts("redis://[::1]:7000").0, "::1:7000");
        assert_eq!(parts("rediss://me:p%40ss@host"), ("host:6379".to_owned(), text("me"), text("p@ss")));
        assert_eq!(parts("redis://:only@host").2, text("only"));
    }

    #[test]
    fn there_is_none_unless_it_is_set() {
        assert!(matches!(read(""), Ok(None)));
        assert!(matches!(CacheConfig::new(&Environment::of_pairs(&[])), Ok(None)));
        let error = CacheConfig::new(&Environment::of_pairs(&[("CACHE_URL", "redis://host")])).err();
        assert_eq!(error, Some(ConfigError::Missing("CHAT_TABLE")));
    }

    #[test]
    fn what_is_no_such_url_is_named_without_its_password() {
        for odd in [
            "host:6379",
            "http://secret@host",
            "redis:secret",
            "redis://",
            "redis://:secret@",
            "redis://:secret@host:port",
            "redis://:secret@host/db",
            "redis://:secret@0.0.0.0",
            "redis+unix:///secret",
            "unix:///secret",
            "rediss://:secret@host/#insecure",
        ] {
            let error = read(odd).err().unwrap_or_else(|| panic!("{odd} is taken")).to_string();
            let expected = "a URL like rediss://user:password@host:6379";
            assert_eq!(error, format!("the environment variable CACHE_URL is not {expected}"), "{odd}");
        }
    }
}

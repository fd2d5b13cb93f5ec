use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

use super::*;
use crate::config::Environment;

const SECRET: [u8; 32] = [7; 32];

fn verifier(pairs: &[(&str, &str)]) -> Verifier {
    let mut all = vec![("JWT_ISSUER", "https://issuer.example"), ("JWT_AUDIENCE", "madang")];
    all.extend_from_slice(pairs);
    Verifier::new(JwtConfig::new(&Environment::of_pairs(&all)).unwrap()).unwrap()
}

fn hs256() -> Verifier {
    verifier(&[("JWT_ALGORITHM", "HS256"), ("JWT_KEY", &STANDARD.encode(SECRET))])
}

fn now() -> Time {
    Time::from_unix_seconds(1_800_000_000)
}

fn claims(changes: &Value) -> Value {
    let mut claims = json!({"sub": "alice", "iss": "https://issuer.example", "aud": "madang", "exp": 1_800_000_600});
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn sign(claims: &Value) -> String {
    encode(&Header::default(), claims, &EncodingKey::from_secret(&SECRET)).unwrap()
}

async fn check(changes: Value, expected: Result<&str, ErrorCode>) {
    let actual = hs256().verify(&sign(&claims(&changes)), now()).await;
    let actual = actual.as_ref().map(|principal| principal.user.as_str()).map_err(|code| *code);
    assert_eq!(actual, expected, "{changes}");
}

#[tokio::test]
async fn claims_are_required_and_compared() {
    let invalid = Err(ErrorCode::TokenInvalid);
    check(json!({}), Ok("alice")).await;
    check(json!({"aud": ["other", "madang"]}), Ok("alice")).await;
    check(json!({"nbf": 1_800_000_030}), Ok("alice")).await;
    check(json!({"nbf": 1_800_000_031}), invalid).await;
    check(json!({"nbf": "soon"}), invalid).await;
    check(json!({"exp": 1_799_999_971}), Ok("alice")).await;
    check(json!({"exp": 1_799_999_970}), Err(ErrorCode::TokenExpired)).await;
    for name in ["exp", "sub", "iss", "aud"] {
        check(json!({name: null}), invalid).await;
        check(json!({name: {}}), invalid).await;
    }
    check(json!({"exp": 1e300}), invalid).await;
    check(json!({"aud": "other"}), invalid).await;
    check(json!({"aud": []}), invalid).await;
    check(json!({"iss": "https://issuer.example.evil.test"}), invalid).await;
    check(json!({"sub": ""}), invalid).await;
    check(json!({"sub": "a\nb"}), invalid).await;
    check(json!({"exp": 1_799_000_000, "iss": "other"}), invalid).await;
}

#[tokio::test]
async fn the_audience_claim_can_have_another_name() {
    let verifier = verifier(&[
        ("JWT_ALGORITHM", "HS256"),
        ("JWT_KEY", &STANDARD.encode(SECRET)),
        ("JWT_AUDIENCE_CLAIM", "client_id"),
    ]);
    assert!(verifier.verify(&sign(&claims(&json!({"client_id": "madang"}))), now()).await.is_ok());
    assert!(verifier.verify(&sign(&claims(&json!({}))), now()).await.is_err());
}

/// A verifier that trusts the token's algorithm: benmcollins/libjwt#200, authlib/joserfc#27.
#[tokio::test]
async fn forged_tokens_get_the_same_answer() {
    let good = sign(&claims(&json!({})));
    let (_, body) = good.split_once('.').unwrap();
    let body = body.split('.').next().unwrap();
    let encode_part = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let mut forged: Vec<String> = ["none", "None", "nOnE"]
        .iter()
        .map(|algorithm| format!("{}.{body}.", encode_part(&format!(r#"{{"alg":"{algorithm}","typ":"JWT"}}"#))))
        .collect();
    forged.push(good.strip_suffix(good.chars().next_back().unwrap()).unwrap().to_owned());
    forged.push(encode(&Header::default(), &claims(&json!({})), &EncodingKey::from_secret(b"")).unwrap());
    forged.push(encode(&Header::default(), &claims(&json!({})), &EncodingKey::from_secret(&[8; 32])).unwrap());
    let mut header = Header::new(Algorithm::HS512);
    forged.push(encode(&header, &claims(&json!({})), &EncodingKey::from_secret(&SECRET)).unwrap());
    header.alg = Algorithm::HS256;
    header.jku = Some("https://evil.test/keys".to_owned());
    forged.push(encode(&header, &claims(&json!({})), &EncodingKey::from_secret(&[8; 32])).unwrap());
    forged.extend(["", ".", "..", "a.b.c", &"x".repeat(20_000)].map(str::to_owned));
    for token in forged {
        assert_eq!(hs256().verify(&token, now()).await, Err(ErrorCode::TokenInvalid), "{token:.60}");
    }
    assert!(hs256().verify(&good, now()).await.is_ok());
}

/// The public key as an HMAC secret, as PEM and as DER: arun11299/cpp-jwt#102.
#[tokio::test]
async fn every_algorithm_takes_its_own_tokens_only() {
    for (name, algorithm, private, public) in asymmetric_keys() {
        let verifier = verifier(&[("JWT_ALGORITHM", name), ("JWT_KEY", &public)]);
        let key = match algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(private.as_bytes()),
            Algorithm::ES256 => EncodingKey::from_ec_pem(private.as_bytes()),
            _ => EncodingKey::from_ed_pem(private.as_bytes()),
        }
        .unwrap();
        let token = encode(&Header::new(algorithm), &claims(&json!({})), &key).unwrap();
        assert!(verifier.verify(&token, now()).await.is_ok(), "{name}");
        let base64: String = public.lines().filter(|line| !line.starts_with('-')).collect();
        for secret in [public.as_bytes(), &STANDARD.decode(base64).unwrap()] {
            let hmac = encode(&Header::default(), &claims(&json!({})), &EncodingKey::from_secret(secret)).unwrap();
            assert_eq!(verifier.verify(&hmac, now()).await, Err(ErrorCode::TokenInvalid), "{name}");
        }
        assert_eq!(hs256().verify(&token, now()).await, Err(ErrorCode::TokenInvalid), "{name}");
    }
}

/// Key pairs made for this run: name, algorithm, private PEM, public PEM.
fn asymmetric_keys() -> Vec<(&'static str, Algorithm, String, String)> {
    use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
    };
    let pem =
        |label: &str, der: &[u8]| format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der));
    let rsa = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let rsa_private: Pkcs8V1Der<'_> = rsa.as_der().unwrap();
    let rsa_public: PublicKeyX509Der<'_> = rsa.public_key().as_der().unwrap();
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let ec_private = ec.to_pkcs8v1().unwrap();
    let ec_public: PublicKeyX509Der<'_> = ec.public_key().as_der().unwrap();
    let ed = Ed25519KeyPair::generate().unwrap();
    let ed_private = ed.to_pkcs8v1().unwrap();
    let ed_public: PublicKeyX509Der<'_> = ed.public_key().as_der().unwrap();
    [
        ("RS256", Algorithm::RS256, rsa_private.as_ref(), rsa_public.as_ref()),
        ("ES256", Algorithm::ES256, ec_private.as_ref(), ec_public.as_ref()),
        ("EdDSA", Algorithm::EdDSA, ed_private.as_ref(), ed_public.as_ref()),
    ]
    .map(|(name, algorithm, private, public)| (name, algorithm, pem("PRIVATE KEY", private), pem("PUBLIC KEY", public)))
    .to_vec()
}

/// Made-up key ids caused a fetch each elsewhere: WebGoat/WebGoat#1538.
#[tokio::test]
async fn a_key_set_is_fetched_once_a_minute_at_most() {
    let key = es256_key();
    let (url, fetches) = serve(vec![Some(key_set(&key, &["k1"]))]).await;
    let verifier = verifier(&[("JWT_ALGORITHM", "ES256"), ("JWT_JWKS_URL", &url)]);
    let token = |kid: Option<&str>| token(&key, kid);
    assert_eq!(verifier.verify(&token(Some("k1")), now()).await.unwrap().user.as_str(), "alice");
    assert!(verifier.verify(&token(None), now()).await.is_ok());
    for odd in [json!(null), json!(5), json!({}), json!("x".repeat(10_000))] {
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": odd});
        assert_eq!(
            verifier.verify(&with_header(&token(Some("k1")), &header), now()).await,
            Err(ErrorCode::TokenInvalid)
        );
    }
    for index in 0..1_000 {
        let odd = format!("../../../dev/null' OR '1'='1 {index}");
        assert_eq!(verifier.verify(&token(Some(&odd)), now()).await, Err(ErrorCode::TokenInvalid));
    }
    let hmac = encode(&Header::default(), &claims(&json!({})), &EncodingKey::from_secret(b"")).unwrap();
    assert_eq!(verifier.verify(&hmac, now()).await, Err(ErrorCode::TokenInvalid));
    assert_eq!(fetches.load(std::sync::atomic::Ordering::SeqCst), 1);
    let later = now().plus_ms(60_000);
    assert_eq!(verifier.verify(&token(Some("new")), later).await, Err(ErrorCode::TokenInvalid));
    assert_eq!(fetches.load(std::sync::atomic::Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_key_set_comes_by_a_way_that_nobody_else_can_change() {
    let config = |url| {
        let pairs = [
            ("JWT_ISSUER", "https://issuer.example"),
            ("JWT_AUDIENCE", "madang"),
            ("JWT_ALGORITHM", "ES256"),
            ("JWT_JWKS_URL", url),
        ];
        JwtConfig::new(&Environment::of_pairs(&pairs)).map(drop)
    };
    for good in ["https://issuer.example/keys", "http://127.0.0.1:8080/keys", "http://localhost/keys", "http://[::1]"] {
        assert_eq!(config(good), Ok(()), "{good}");
    }
    for odd in ["http://issuer.example/keys", "http://localhost.evil.test/keys", "http://127.0.0.1.evil.test"] {
        assert!(config(odd).unwrap_err().to_string().contains("JWT_JWKS_URL"), "{odd}");
    }
}

#[tokio::test]
async fn without_its_key_set_the_verifier_is_unavailable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let verifier = verifier(&[("JWT_ALGORITHM", "ES256"), ("JWT_JWKS_URL", &url)]);
    assert_eq!(verifier.verify(&token(&es256_key(), None), now()).await, Err(ErrorCode::Unavailable));
}

/// An issuer that fails once costs seconds, and one fetch, however many wait for it.
#[tokio::test]
async fn a_first_fetch_that_failed_is_soon_made_good() {
    let key = es256_key();
    let (url, fetches) = serve(vec![None, Some(key_set(&key, &["k1"]))]).await;
    let verifier = verifier(&[("JWT_ALGORITHM", "ES256"), ("JWT_JWKS_URL", &url)]);
    let token = token(&key, Some("k1"));
    let verify = |after_ms| verifier.verify(&token, now().plus_ms(after_ms));
    let failed = Err(ErrorCode::Unavailable);
    assert_eq!(tokio::join!(verify(0), verify(1_000), verify(2_999)), (failed.clone(), failed.clone(), failed));
    assert_eq!(fetches.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert!(verify(3_000).await.is_ok());
    assert_eq!(fetches.load(std::sync::atomic::Ordering::SeqCst), 2);
}

/// Whoever has the first token behind a rotation is not logged out because the new key cannot be fetched for now.
#[tokio::test]
async fn an_unknown_key_is_refused_only_when_the_set_could_be_fetched() {
    let key = es256_key();
    let answers = vec![Some(key_set(&key, &["old"])), None, Some(key_set(&key, &["old", "new"]))];
    let (url, fetches) = serve(answers).await;
    let verifier = verifier(&[("JWT_ALGORITHM", "ES256"), ("JWT_JWKS_URL", &url)]);
    let verify = async |kid, after_ms| verifier.verify(&token(&key, Some(kid)), now().plus_ms(after_ms)).await;
    assert!(verify("old", 0).await.is_ok());
    for after_ms in [60_000, 119_999] {
        assert_eq!(verify("new", after_ms).await, Err(ErrorCode::Unavailable));
        assert!(verify("old", after_ms).await.is_ok());
    }
    assert_eq!(fetches.load(std::sync::atomic::Ordering::SeqCst), 2);
    assert!(verify("new", 120_000).await.is_ok());
    assert_eq!(verify("odd", 120_000).await, Err(ErrorCode::TokenInvalid));
}

fn es256_key() -> EncodingKey {
    let (_, _, private, _) = asymmetric_keys().swap_remove(1);
    EncodingKey::from_ec_pem(private.as_bytes()).unwrap()
}

/// A key set that has the key under these ids.
fn key_set(key: &EncodingKey, ids: &[&str]) -> String {
    let jwk = |id: &&str| {
        let mut jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(key, Algorithm::ES256).unwrap();
        jwk.common.key_id = Some((*id).to_owned());
        jwk
    };
    json!({"keys": ids.iter().map(jwk).collect::<Vec<_>>()}).to_string()
}

fn token(key: &EncodingKey, kid: Option<&str>) -> String {
    let mut header = Header::new(Algorithm::ES256);
    header.kid = kid.map(str::to_owned);
    encode(&header, &claims(&json!({})), key).unwrap()
}

/// The same claims and signature behind another header.
fn with_header(token: &str, header: &Value) -> String {
    let (_, rest) = token.split_once('.').unwrap();
    format!("{}.{rest}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(header.to_string()))
}

/// A small HTTP server that counts and gives these answers, the last of them again and again; none is an error.
async fn serve(answers: Vec<Option<String>>) -> (String, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let number = counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let mut request = [0; 4_096];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            let body = answers.get(number).or(answers.last()).and_then(Option::as_deref);
            let (status, body) = body.map_or(("503 Service Unavailable", ""), |body| ("200 OK", body));
            let length = body.len();
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, count)
}

//! Which pages may read the answers: exact origins, on every answer, errors too; never with credentials. The only
//! home of CORS: a setting on the API itself would override these headers.

use common::config::AllowedOrigins;
use lambda_http::http::{HeaderValue, StatusCode, header};
use lambda_http::{Body, Request, Response};

/// What a page may call.
const METHODS: &str = "GET, POST, PUT, PATCH, DELETE";
/// What a page may send with a call.
const HEADERS: &str = "authorization, content-type, idempotency-key";
/// How long a browser may remember a preflight, in seconds.
const MAX_AGE_SECONDS: &str = "600";

/// The answer to a preflight, which needs no token: a browser sends none with it.
pub(crate) fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Who asks: the call's one `Origin`; two are nobody's.
pub(crate) fn origin(request: &Request) -> Option<String> {
    let mut origins = request.headers().get_all(header::ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (Some(origin), None) => origin.to_str().ok().map(str::to_owned),
        _ => None,
    }
}

/// Says on any answer whether a page of this origin may read it; to others it says nothing. What may be asked for is
/// said on a preflight alone, which is the only answer without a body.
pub(crate) fn allow(mut response: Response<Body>, origin: Option<&str>, allowed: &AllowedOrigins) -> Response<Body> {
    let is_preflight = response.status() == StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    let origin = origin.filter(|origin| allowed.allows(origin)).and_then(|origin| HeaderValue::from_str(origin).ok());
    let Some(origin) = origin else { return response };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    if is_preflight {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(HEADERS));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE_SECONDS));
    } else {
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Retry-After"));
    }
    response
}

#[cfg(test)]
mod tests {
    use common::code::ErrorCode;
    use common::config::Environment;

    use super::*;
    use crate::answer::{Answer, problem};

    const PAGE: &str = "https://app.example.com";

    fn list() -> AllowedOrigins {
        AllowedOrigins::new(&Environment::of_pairs(&[("ALLOWED_ORIGINS", PAGE)])).unwrap()
    }

    /// The CORS headers of an answer, by name.
    fn told(response: &Response<Body>) -> Vec<(&str, &str)> {
        let cors = response.headers().iter().filter(|(name, _)| name.as_str().starts_with("access-control-"));
        let mut told: Vec<_> = cors.map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        told.sort_unstable();
        assert_eq!(response.headers()["vary"], "Origin");
        told
    }

    #[test]
    fn a_page_of_the_list_reads_every_answer_errors_too() {
        let expected = [("access-control-allow-origin", PAGE), ("access-control-expose-headers", "Retry-After")];
        let errors = ErrorCode::ALL.iter().map(|code| problem((*code).into(), "request"));
        let good = [Answer::ok(&1), Answer::created(&1), Answer::accepted(&1)].map(Answer::into_response);
        for answer in errors.chain(good) {
            let status = answer.status();
            assert_eq!(told(&allow(answer, Some(PAGE), &list())), expected, "{status}");
        }
        let retry = allow(problem(ErrorCode::Unavailable.into(), ""), Some(PAGE), &list());
        assert_eq!(retry.headers()["retry-after"], "1");
    }

    #[test]
    fn a_preflight_says_what_may_be_asked_for() {
        let answer = allow(preflight(), Some(PAGE), &list());
        assert_eq!((answer.status(), answer.body()), (StatusCode::NO_CONTENT, &Body::Empty));
        let expected = [
            ("access-control-allow-headers", "authorization, content-type, idempotency-key"),
            ("access-control-allow-methods", "GET, POST, PUT, PATCH, DELETE"),
            ("access-control-allow-origin", PAGE),
            ("access-control-max-age", "600"),
        ];
        assert_eq!(told(&answer), expected);
    }

    #[test]
    fn other_origins_are_told_nothing() {
        for origin in [Some("https://evil-app.example.com"), Some("null"), Some("*"), Some(""), None] {
            for answer in [preflight(), Answer::ok(&1).into_response(), problem(ErrorCode::NotFound.into(), "")] {
                assert_eq!(told(&allow(answer, origin, &list())), [], "{origin:?}");
            }
        }
    }

    #[test]
    fn two_origins_are_nobodys() {
        let request = |origins: &[&str]| {
            let mut request = Request::new(Body::Empty);
            for origin in origins {
                request.headers_mut().append(header::ORIGIN, origin.parse().unwrap());
            }
            request
        };
        assert_eq!(origin(&request(&[])), None);
        assert_eq!(origin(&request(&[PAGE])).as_deref(), Some(PAGE));
        assert_eq!(origin(&request(&[PAGE, "https://evil.test"])), None);
    }
}

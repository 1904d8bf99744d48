//! Parsers of a registry's answers for `fuzz/`. Pure.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use super::{
    blob,
    challenge::{self, Challenge},
    failure,
    token::{Token, refresh_form, token_url},
};

/// The question to the token service that the headers name, as the URL of a
/// GET and the form of a POST.
#[must_use]
pub fn challenge(headers: &HeaderMap) -> Option<(String, String)> {
    let Challenge::Bearer(service) = challenge::challenge(headers)? else {
        return None;
    };
    let scope = service.scope.as_deref().unwrap_or_default();
    let url = token_url(&service, scope, Some("user"));
    Some((url.into(), refresh_form(&service, scope, "refresh")))
}

/// The header that a token service's answer is used in, and whether it holds
/// at the moment it was asked for.
#[must_use]
pub fn token(bytes: &[u8]) -> Option<(HeaderValue, bool)> {
    let asked = Instant::now();
    let token = Token::parse(bytes, asked).ok()?;
    let is_good = token.is_good(asked);
    Some((token.header, is_good))
}

/// The first byte that an answer holds.
#[must_use]
pub fn first_byte(headers: &HeaderMap) -> Option<u64> {
    blob::first_byte(headers)
}

/// How long a registry asks to be left alone.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    failure::retry_after(headers)
}

/// What is quoted of the body of an error.
#[must_use]
pub fn complaint(body: &[u8]) -> String {
    failure::said_in(body).text
}

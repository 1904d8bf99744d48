//! How a registry asks who we are: `WWW-Authenticate`.
//!
//! Pure. Formats: RFC 9110, 11.6.1, and the distribution project's token
//! authentication (`realm`, `service` and `scope` of a Bearer challenge).

use http::{HeaderMap, header::WWW_AUTHENTICATE};
use http_auth::{ChallengeRef, parse_challenges};
use reqwest::Url;

/// Longest header that is looked at.
const MAX_HEADER: usize = 1 << 13;

/// What a registry wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Name and password with every request.
    Basic,
    /// A token.
    Bearer(TokenService),
}

/// Where tokens are to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TokenService {
    pub(super) realm: Url,
    pub(super) service: Option<String>,
    pub(super) scope: Option<String>,
}

impl Challenge {
    /// The registry's root knows no repository, so that a scope of its means
    /// something else.
    pub(super) fn without_scope(self) -> Self {
        match self {
            Self::Bearer(service) => Self::Bearer(TokenService {
                scope: None,
                ..service
            }),
            Self::Basic => Self::Basic,
        }
    }
}

/// What the headers ask for; a token where there is a choice. None when they
/// ask for nothing that banger knows.
pub(super) fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).into_iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    let short = texts.filter(|text| text.len() <= MAX_HEADER);
    let parsed = short.filter_map(|text| parse_challenges(text).ok());
    let known = parsed.flatten().filter_map(|challenge| known(&challenge));
    known.max_by_key(|challenge| matches!(challenge, Challenge::Bearer(_)))
}

fn known(challenge: &ChallengeRef<'_>) -> Option<Challenge> {
    if challenge.scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !challenge.scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut realm: Url = parameter(challenge, "realm")?.parse().ok()?;
    // what stands there would be sent as credentials
    realm.set_username("").ok()?;
    realm.set_password(None).ok()?;
    Some(Challenge::Bearer(TokenService {
        realm,
        service: parameter(challenge, "service"),
        scope: parameter(challenge, "scope"),
    }))
}

fn parameter(challenge: &ChallengeRef<'_>, name: &str) -> Option<String> {
    let mut parameters = challenge.params.iter();
    let (_, value) = parameters.find(|(found, _)| found.eq_ignore_ascii_case(name))?;
    Some(value.to_unescaped()).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        challenge(&headers)
    }

    #[test]
    fn a_token_service_is_read_with_its_quotes_and_commas() {
        let text = r#"bearer Realm="https://u:p@auth.example/to\ken?a=1", SERVICE=reg.example ,scope="repository:a/b:pull,push""#;
        let service = TokenService {
            realm: "https://auth.example/token?a=1".parse().unwrap(),
            service: Some("reg.example".into()),
            scope: Some("repository:a/b:pull,push".into()),
        };
        assert_eq!(asked(&[text]), Some(Challenge::Bearer(service)));
    }

    #[test]
    fn a_token_is_preferred_and_what_is_unknown_passed_over() {
        let bearer = r#"Bearer realm="https://a.example/t""#;
        let both = format!(r#"Basic realm="x", {bearer}"#);
        let expected = asked(&[bearer]);
        assert!(matches!(&expected, Some(Challenge::Bearer(found)) if found.scope.is_none()));
        assert_eq!(asked(&[&both]), expected);
        assert_eq!(asked(&["Negotiate abc==", bearer, "Basic"]), expected);
        assert_eq!(asked(&[r#"Basic realm="x""#]), Some(Challenge::Basic));
    }

    #[test]
    fn nonsense_asks_for_nothing() {
        let long = format!(r#"Bearer realm="https://a/{}""#, "x".repeat(MAX_HEADER));
        for text in [
            "",
            "Bearer",
            r#"Bearer realm="/t""#,
            "Digest realm=x",
            &long,
        ] {
            assert_eq!(asked(&[text]), None, "{text}");
        }
    }
}

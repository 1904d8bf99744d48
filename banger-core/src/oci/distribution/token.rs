//! Tokens: how they are asked for, and what the answer says.
//!
//! Pure. Formats: the distribution project's `token.md` (a GET) and
//! `oauth.md` (a POST with a refresh token, RFC 6749, 6).

use std::time::Duration;

use http::HeaderValue;
use reqwest::Url;
use serde::Deserialize;
use tokio::time::Instant;

use super::challenge::TokenService;

/// Largest answer of a token service.
pub(super) const MAX_TOKEN: u64 = 1 << 16;
/// How long a token holds that does not say it (`token.md`).
const DEFAULT_LIFE: u64 = 60;
/// Longest life that is believed.
const MAX_LIFE: u64 = 24 * 60 * 60;
/// How banger calls itself.
const CLIENT_ID: &str = "banger";

/// A token and when to ask for the next.
#[derive(Clone)]
pub(super) struct Token {
    /// The whole header; marked as a secret.
    pub(super) header: HeaderValue,
    pub(super) expires: Option<Instant>,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// The URL of the GET; `account` is the user's name, if there is one.
pub(super) fn token_url(service: &TokenService, scope: &str, account: Option<&str>) -> Url {
    let mut url = service.realm.clone();
    let mut query = url.query_pairs_mut();
    if let Some(account) = account {
        query.append_pair("account", account);
    }
    query.append_pair("scope", scope);
    if let Some(service) = &service.service {
        query.append_pair("service", service);
    }
    drop(query);
    url
}

/// The form of the POST.
pub(super) fn refresh_form(service: &TokenService, scope: &str, refresh_token: &str) -> String {
    let mut url = service.realm.clone();
    url.query_pairs_mut()
        .clear()
        .append_pair("grant_type", "refresh_token")
        .append_pair("service", service.service.as_deref().unwrap_or_default())
        .append_pair("client_id", CLIENT_ID)
        .append_pair("scope", scope)
        .append_pair("refresh_token", refresh_token);
    url.query().unwrap_or_default().to_owned()
}

impl Token {
    /// Reads a token service's answer. A token is given up a little before
    /// its end, lest it ends on the way.
    pub(super) fn parse(answer: &[u8], asked: Instant) -> Result<Self, &'static str> {
        let answer: Answer = serde_json::from_slice(answer)
            .map_err(|_| "the answer of its token service is not valid")?;
        let tokens = [answer.token, answer.access_token];
        let mut given = tokens.into_iter().flatten().filter(|text| !text.is_empty());
        let text = given.next().ok_or("its token service gave out no token")?;
        let seconds = answer.expires_in.unwrap_or(DEFAULT_LIFE).min(MAX_LIFE);
        let life = Duration::from_secs(seconds) * 9 / 10;
        Ok(Self {
            expires: asked.checked_add(life),
            ..Self::lasting(&text)?
        })
    }

    /// A token that holds until it is refused.
    pub(super) fn lasting(text: &str) -> Result<Self, &'static str> {
        Self::of_header(&format!("Bearer {text}"))
    }

    /// The same of the whole header.
    pub(super) fn of_header(text: &str) -> Result<Self, &'static str> {
        let header = HeaderValue::try_from(text);
        let mut header = header.map_err(|_| "its token or password fits into no header")?;
        header.set_sensitive(true);
        Ok(Self {
            header,
            expires: None,
        })
    }

    pub(super) fn is_good(&self, now: Instant) -> bool {
        self.expires.is_none_or(|end| now < end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> TokenService {
        TokenService {
            realm: "https://a.example/t?x=1".parse().unwrap(),
            service: Some("r&d".into()),
            scope: None,
        }
    }

    #[test]
    fn questions_are_escaped() {
        let url = token_url(&service(), "repository:a/b:pull", Some("a b"));
        let expected =
            "https://a.example/t?x=1&account=a+b&scope=repository%3Aa%2Fb%3Apull&service=r%26d";
        assert_eq!(url.as_str(), expected);
        let form = refresh_form(&service(), "s", "t=&");
        let expected =
            "grant_type=refresh_token&service=r%26d&client_id=banger&scope=s&refresh_token=t%3D%26";
        assert_eq!(form, expected);
    }

    #[test]
    fn tokens_hold_as_long_as_they_say_but_for_a_little() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let cases = [
            (r#"{"token":"t"}"#, 53, 55),
            (
                r#"{"token":"","access_token":"t","expires_in":300}"#,
                269,
                271,
            ),
            (r#"{"token":"t","expires_in":99999999999}"#, 77_759, 77_761),
        ];
        for (answer, good, bad) in cases {
            let token = Token::parse(answer.as_bytes(), now).unwrap();
            assert_eq!(token.header, "Bearer t");
            assert!(token.header.is_sensitive());
            assert!(
                token.is_good(after(good)) && !token.is_good(after(bad)),
                "{answer}"
            );
        }
        let over = Token::parse(br#"{"token":"t","expires_in":0}"#, now).unwrap();
        assert!(!over.is_good(now));
    }

    #[test]
    fn an_answer_without_a_usable_token_is_refused() {
        for answer in [
            "",
            "{}",
            r#"{"token":""}"#,
            r#"{"token":"a\nb"}"#,
            r#"{"token":1}"#,
        ] {
            assert!(
                Token::parse(answer.as_bytes(), Instant::now()).is_err(),
                "{answer}"
            );
        }
    }
}

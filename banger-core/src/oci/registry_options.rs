//! How registries are reached: what an embedder says of them, once.
//!
//! Invariants: nothing here comes from the environment; no `Debug` form shows
//! a secret. Entry points: [`RegistryOptions`].

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use camino::Utf8PathBuf;

use super::{
    credentials::CredentialSource,
    reference::{is_host, is_repository},
};

/// How registries are reached. Registries are named `host[:port]`, as in
/// references.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryOptions {
    /// Where credentials come from.
    pub credentials: CredentialSource,
    /// Registries and mirrors that are spoken to without TLS. Those on the
    /// loopback interface are, unless a certificate authority is named for
    /// them in `hosts`.
    pub plain_http: Vec<String>,
    /// What is special about which registry or mirror.
    pub hosts: BTreeMap<String, HostOptions>,
    /// Proxies between here and the registries.
    pub proxies: ProxyOptions,
    /// Pause before the second attempt; later ones grow from it.
    pub retry_pause: Duration,
    /// Longest silence of a registry in the middle of an answer.
    pub idle_timeout: Duration,
}

impl Default for RegistryOptions {
    /// Anonymous access with TLS, without proxy or mirror.
    fn default() -> Self {
        Self {
            credentials: CredentialSource::default(),
            plain_http: Vec::new(),
            hosts: BTreeMap::new(),
            proxies: ProxyOptions::default(),
            retry_pause: Duration::from_millis(500),
            idle_timeout: Duration::from_mins(1),
        }
    }
}

/// What is special about a registry or mirror.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostOptions {
    /// Asked in this order before the registry itself.
    pub mirrors: Vec<Mirror>,
    /// A PEM file of certificate authorities that are trusted for this host
    /// besides those of the system.
    pub ca_file: Option<Utf8PathBuf>,
}

/// A registry that holds copies of another one's repositories:
/// `host[:port][/prefix]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    host: String,
    prefix: Option<String>,
}

impl Mirror {
    /// `host[:port]`.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// What a repository of the origin is called there.
    pub(super) fn repository(&self, repository: &str) -> String {
        self.prefix.as_ref().map_or_else(
            || repository.to_owned(),
            |prefix| format!("{prefix}/{repository}"),
        )
    }
}

/// A text that names no mirror.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("mirror {text:?} is not valid: it is HOST[:PORT][/PREFIX]")]
pub struct MirrorParseError {
    text: String,
}

impl FromStr for Mirror {
    type Err = MirrorParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, prefix) = match text.split_once('/') {
            Some((host, prefix)) => (host, Some(prefix)),
            None => (text, None),
        };
        if !is_host(host) || !prefix.is_none_or(is_repository) {
            return Err(MirrorParseError {
                text: text.chars().take(300).collect(),
            });
        }
        Ok(Self {
            host: host.to_owned(),
            prefix: prefix.map(str::to_owned),
        })
    }
}

/// Proxies by the scheme of what is asked for. This machine itself is never
/// asked through one. The `Debug` form leaves a proxy's password out.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ProxyOptions {
    /// URL of the proxy for plain HTTP.
    pub http: Option<String>,
    /// URL of the proxy for HTTPS.
    pub https: Option<String>,
    /// Hosts that are asked directly, separated by commas: domains with all
    /// below them, addresses, networks (`10.0.0.0/8`), or `*`.
    pub no_proxy: String,
}

impl fmt::Debug for ProxyOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyOptions")
            .field("http", &self.http.as_deref().map(without_userinfo))
            .field("https", &self.https.as_deref().map(without_userinfo))
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}

/// A URL as far as it may be shown.
pub(super) fn without_userinfo(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, rest)) => format!("(…)@{rest}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_a_host_and_perhaps_a_prefix() {
        let mirror: Mirror = "mirror.example:5000".parse().unwrap();
        assert_eq!(mirror.host(), "mirror.example:5000");
        assert_eq!(mirror.repository("library/debian"), "library/debian");
        let mirror: Mirror = "m.example/hub/copy".parse().unwrap();
        assert_eq!(mirror.repository("library/x"), "hub/copy/library/x");
        for text in ["", "/hub", "m.example/", "https://m.example", "m.example/A"] {
            assert!(text.parse::<Mirror>().is_err(), "{text}");
        }
    }

    #[test]
    fn no_debug_form_shows_the_password_of_a_proxy() {
        let proxies = ProxyOptions {
            http: Some("http://ann:s3cret@proxy:3128".into()),
            https: Some("http://ann:s3cret@proxy:3128".into()),
            no_proxy: "local".into(),
        };
        let text = format!("{proxies:?}");
        assert!(
            !text.contains("s3cret") && text.contains("proxy:3128"),
            "{text}"
        );
    }
}

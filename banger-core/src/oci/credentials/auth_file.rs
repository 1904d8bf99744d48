//! Files of credentials, as docker (`config.json`) and podman (`auth.json`)
//! write them.
//!
//! Pure. Formats: `docker login`'s configuration file, and
//! `containers-auth.json(5)`: keys are registries, for podman also namespaces
//! and repositories, of which the longest that fits decides.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::{Credential, canonical_host, helper::Helper, server_name};

/// What a file says.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct AuthFileContent {
    auths: BTreeMap<String, Option<Entry>>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

/// What a file says of one registry.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

/// Where a file has the credentials for a repository.
pub(super) struct Place<'a> {
    /// A helper that is asked first.
    pub(super) helper: Option<Helper>,
    /// The file's own entry.
    pub(super) entry: Option<&'a Entry>,
}

impl AuthFileContent {
    /// Reads a file; an empty one says nothing. The problem never quotes it.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        serde_json::from_slice(text).map_err(|error| {
            format!(
                "it is not valid at line {}, column {}",
                error.line(),
                error.column()
            )
        })
    }

    pub(super) fn find(&self, registry: &str, repository: &str) -> Place<'_> {
        let own = best_match(&self.cred_helpers, registry, repository);
        let own = own.map(|(key, name)| Helper::new(name, key.to_owned()));
        let store = self.creds_store.as_ref().filter(|name| !name.is_empty());
        let auths = self.auths.iter().filter_map(|(key, entry)| {
            let entry = entry.as_ref().filter(|entry| !entry.is_empty())?;
            Some((key, entry))
        });
        Place {
            helper: own.or_else(|| store.map(|name| Helper::new(name, server_name(registry)))),
            entry: best_match(auths, registry, repository).map(|(_, entry)| entry),
        }
    }
}

impl Entry {
    /// `docker login` leaves an empty entry where a helper keeps the secret.
    fn is_empty(&self) -> bool {
        let values = [
            &self.auth,
            &self.username,
            &self.password,
            &self.identitytoken,
            &self.registrytoken,
        ];
        values
            .into_iter()
            .all(|value| filled(value.as_deref()).is_none())
    }

    /// What it holds; none when it is empty.
    pub(super) fn credential(&self) -> Result<Option<Credential>, String> {
        if let Some(token) = filled(self.identitytoken.as_deref()) {
            return Ok(Some(Credential::Identity(token.to_owned().into())));
        }
        if let Some(token) = filled(self.registrytoken.as_deref()) {
            return Ok(Some(Credential::Bearer(token.to_owned().into())));
        }
        let Some((user, secret)) = self.pair()? else {
            return Ok(None);
        };
        Ok(Some(Credential::Password {
            user,
            secret: secret.into(),
        }))
    }

    /// Name and password.
    fn pair(&self) -> Result<Option<(String, String)>, String> {
        if let Some(auth) = filled(self.auth.as_deref()) {
            return decode(auth).map(Some);
        }
        let user = filled(self.username.as_deref());
        let pair = user.zip(filled(self.password.as_deref()));
        Ok(pair.map(|(user, secret)| (user.to_owned(), secret.to_owned())))
    }
}

fn filled(value: Option<&str>) -> Option<&str> {
    value.filter(|text| !text.is_empty())
}

/// `base64(user:password)`; docker pads with zero bytes.
fn decode(auth: &str) -> Result<(String, String), String> {
    let problem = "an auth value in it is not base64 of USER:PASSWORD";
    let bytes = STANDARD.decode(auth).map_err(|_| problem)?;
    let text = String::from_utf8(bytes).map_err(|_| problem)?;
    let (user, secret) = text.split_once(':').ok_or(problem)?;
    Ok((user.to_owned(), secret.trim_end_matches('\0').to_owned()))
}

/// The entry whose key names the repository, else its nearest namespace, else
/// its registry.
fn best_match<'a, T>(
    entries: impl IntoIterator<Item = (&'a String, &'a T)>,
    registry: &str,
    repository: &str,
) -> Option<(&'a str, &'a T)> {
    let wanted = format!("{}/{repository}", canonical_host(registry));
    let fits = |key: &str| {
        let rest = wanted.strip_prefix(key);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let named = entries
        .into_iter()
        .map(|(key, value)| (normal_key(key), key, value));
    let fitting = named.filter(|(normal, ..)| !normal.is_empty() && fits(normal));
    fitting
        .max_by_key(|(normal, ..)| normal.len())
        .map(|(_, key, value)| (key.as_str(), value))
}

/// A key without what docker once put around a host: scheme and API version.
fn normal_key(key: &str) -> String {
    let bare = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"));
    let (host, path) = match (bare, bare.unwrap_or(key).split_once('/')) {
        (None, Some((host, path))) => (host, path.trim_end_matches('/')),
        (Some(_), Some((host, _))) => (host, ""),
        (_, None) => (bare.unwrap_or(key), ""),
    };
    let host = canonical_host(host);
    match path {
        "" | "v1" | "v2" => host.to_owned(),
        path => format!("{host}/{path}"),
    }
}

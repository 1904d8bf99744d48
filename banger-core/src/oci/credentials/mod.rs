//! Credentials for registries: given, configured, or as docker and podman
//! keep them.
//!
//! Purpose: from the name of a repository to what opens it. Order: those
//! given, the configuration's credential helpers, the files of credentials in
//! their order, none. Invariants: nothing is looked up before a registry asks;
//! no secret reaches a log, an error or a `Debug` form; a helper program has a
//! deadline and a bounded answer. A crash leaves nothing: nothing is written.
//! Entry points: [`CredentialSource`], [`RegistryCredentials`].

mod auth_file;
#[cfg(feature = "fuzzing")]
pub(super) mod fuzzing;
mod helper;

use std::{collections::BTreeMap, fmt, time::Duration};

use camino::{Utf8Path, Utf8PathBuf};

use super::{AccessError, small_file};
use auth_file::{AuthFileContent, Entry};
use helper::Helper;

/// Largest file of credentials that is read.
const MAX_AUTH_FILE: u64 = 1 << 20;

/// Where credentials come from. The default is none at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialSource {
    /// Credentials by registry, before everything else.
    pub given: Vec<RegistryCredentials>,
    /// Credential helpers by registry: `NAME` of `docker-credential-NAME`.
    pub helpers: BTreeMap<String, String>,
    /// Files as `docker login` and `podman login` write them. The first that
    /// knows a registry decides.
    pub auth_files: Vec<AuthFile>,
    /// Directories where helper programs are looked for, in order.
    pub program_directories: Vec<Utf8PathBuf>,
    /// How long a helper program may take; it may ask its user something.
    pub helper_deadline: Duration,
}

impl Default for CredentialSource {
    fn default() -> Self {
        Self {
            given: Vec::new(),
            helpers: BTreeMap::new(),
            auth_files: Vec::new(),
            program_directories: Vec::new(),
            helper_deadline: Duration::from_mins(1),
        }
    }
}

/// A file of credentials: docker's `config.json` or podman's `auth.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthFile {
    /// The file.
    pub path: Utf8PathBuf,
    /// Whether it is an error when it does not exist.
    pub must_exist: bool,
}

/// Credentials for one registry. Its `Debug` form leaves the secret out.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistryCredentials {
    /// `host[:port]`, as in references.
    pub registry: String,
    /// The user's name.
    pub user: String,
    /// Password or token.
    pub secret: String,
}

impl fmt::Debug for RegistryCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryCredentials")
            .field("registry", &self.registry)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// A text that no `Debug` form shows.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(String);

impl Secret {
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What opens a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Credential {
    Anonymous,
    /// A name and a password.
    Password {
        user: String,
        secret: Secret,
    },
    /// A refresh token of OAuth 2, which docker calls an identity token.
    Identity(Secret),
    /// A bearer token that is used as it is.
    Bearer(Secret),
}

impl Credential {
    pub(super) const fn is_anonymous(&self) -> bool {
        matches!(self, Self::Anonymous)
    }
}

impl CredentialSource {
    /// The credentials for a repository; anonymous when nothing names it.
    pub(super) async fn find(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Credential, AccessError> {
        if let Some(given) = self.given(registry) {
            return Ok(given);
        }
        let configured = self.helpers.get(registry);
        let helper = configured.map(|name| Helper::new(name, server_name(registry)));
        if let Some(found) = self.ask(helper).await? {
            return Ok(found);
        }
        for file in &self.auth_files {
            if let Some(found) = self.in_file(file, registry, repository).await? {
                return Ok(found);
            }
        }
        Ok(Credential::Anonymous)
    }

    fn given(&self, registry: &str) -> Option<Credential> {
        let names = |entry: &&RegistryCredentials| {
            canonical_host(&entry.registry) == canonical_host(registry)
        };
        self.given
            .iter()
            .find(names)
            .map(|entry| Credential::Password {
                user: entry.user.clone(),
                secret: entry.secret.clone().into(),
            })
    }

    /// As docker does: where a helper keeps the credentials, it is asked; an
    /// entry of the file itself counts when the helper has none.
    async fn in_file(
        &self,
        file: &AuthFile,
        registry: &str,
        repository: &str,
    ) -> Result<Option<Credential>, AccessError> {
        let Some(content) = read(file.clone()).await? else {
            return Ok(None);
        };
        let place = content.find(registry, repository);
        match self.ask(place.helper).await? {
            Some(found) => Ok(Some(found)),
            None => place
                .entry
                .map(Entry::credential)
                .transpose()
                .map(Option::flatten)
                .map_err(|problem| invalid(&file.path, problem)),
        }
    }

    async fn ask(&self, helper: Option<Helper>) -> Result<Option<Credential>, AccessError> {
        match helper {
            Some(helper) => {
                helper
                    .ask(&self.program_directories, self.helper_deadline)
                    .await
            }
            None => Ok(None),
        }
    }
}

async fn read(file: AuthFile) -> Result<Option<AuthFileContent>, AccessError> {
    let text = match small_file::read(file.path.clone(), MAX_AUTH_FILE).await {
        Err(AccessError::ReadFile { source, .. })
            if !file.must_exist && source.kind() == std::io::ErrorKind::NotFound =>
        {
            return Ok(None);
        }
        text => text?,
    };
    let content = AuthFileContent::parse(&text);
    content
        .map(Some)
        .map_err(|problem| invalid(&file.path, problem))
}

fn invalid(path: &Utf8Path, problem: String) -> AccessError {
    AccessError::InvalidFile {
        path: path.to_owned(),
        problem,
    }
}

/// Docker Hub goes by several names.
pub(super) fn canonical_host(host: &str) -> &str {
    match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    }
}

/// What docker calls a registry when it speaks to a helper.
fn server_name(registry: &str) -> String {
    match canonical_host(registry) {
        "docker.io" => "https://index.docker.io/v1/".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests;

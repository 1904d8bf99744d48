//! The file that says who may call from elsewhere.
//!
//! Purpose: tokens, by their digests alone, and the names of certificates, each with
//! its scopes. Invariants: a file that others could read or change is refused; no
//! comparison ends earlier for a token that is almost right.
//! Entry points: [`Credentials::read`], [`Credentials::parse`].

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
};

use banger_core::{
    ErrorKind,
    host_fs::{IoContext as _, PathError},
};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::geteuid;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use crate::caller::{Caller, Scope, Scopes};

/// Largest file that is read.
const MAX_FILE: u64 = 1024 * 1024;
/// Longest token that is looked at.
const MAX_TOKEN: usize = 512;
/// Longest name of an owner or a certificate.
const MAX_NAME: usize = 253;

/// What is wrong with the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// A host file failed.
    #[error("failed to read who may call")]
    Io(#[from] PathError),
    /// Others can get at it.
    #[error(
        "{path} is not the server's alone: it needs mode 0600 and the server's user as its owner"
    )]
    Exposed {
        /// The file.
        path: Utf8PathBuf,
    },
    /// It is too long.
    #[error("{path} has more than {MAX_FILE} bytes")]
    TooLong {
        /// The file.
        path: Utf8PathBuf,
    },
    /// It is no list of tokens and certificates.
    #[error("{0}")]
    Form(String),
}

impl CredentialsError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io(error) => error.kind(),
            Self::Exposed { .. } => ErrorKind::PermissionDenied,
            Self::TooLong { .. } | Self::Form(_) => ErrorKind::InvalidInput,
        }
    }
}

/// Who may call from elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    tokens: Vec<Token>,
    certificates: BTreeMap<String, Scopes>,
    /// What a certificate may that is not named.
    unnamed_certificate: Scopes,
}

#[derive(Clone, Debug)]
struct Token {
    owner: String,
    digest: [u8; 32],
    scopes: Scopes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    #[serde(default)]
    token: Vec<TokenForm>,
    #[serde(default)]
    certificate: Vec<CertificateForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenForm {
    owner: String,
    sha256: String,
    scopes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateForm {
    name: String,
    scopes: Vec<String>,
}

impl Credentials {
    /// Those of a file that nobody else can read or change.
    pub fn read(path: &Utf8Path) -> Result<Self, CredentialsError> {
        let text = read_private(path)?;
        let text = String::from_utf8(text)
            .map_err(|_| CredentialsError::Form(format!("{path} is no text")))?;
        Self::parse(&text).map_err(|problem| match problem {
            CredentialsError::Form(problem) => CredentialsError::Form(format!("{path}: {problem}")),
            other => other,
        })
    }

    /// Those that a text in TOML lists.
    pub fn parse(text: &str) -> Result<Self, CredentialsError> {
        let form: FileForm = toml::from_str(text).map_err(|error| {
            let line = error.message().replace('\n', " ");
            CredentialsError::Form(line)
        })?;
        let mut credentials = Self::default();
        for form in form.token {
            let token = token(form)?;
            if credentials
                .tokens
                .iter()
                .any(|one| one.digest == token.digest)
            {
                let problem = format!("two tokens of {:?} and others are the same", token.owner);
                return Err(CredentialsError::Form(problem));
            }
            credentials.tokens.push(token);
        }
        for CertificateForm { name, scopes } in form.certificate {
            let scopes = all_scopes(&name, &scopes)?;
            check_name(&name)?;
            if credentials
                .certificates
                .insert(name.clone(), scopes)
                .is_some()
            {
                let problem = format!("certificate {name:?} is there twice");
                return Err(CredentialsError::Form(problem));
            }
        }
        Ok(credentials)
    }

    /// The same, and what certificates may that are not named.
    #[must_use]
    pub const fn with_unnamed_certificate(mut self, scopes: Scopes) -> Self {
        self.unnamed_certificate = scopes;
        self
    }

    /// Whoever has that token. How long it takes says nothing of the tokens there are.
    pub(crate) fn of_token(&self, token: &[u8]) -> Option<Caller> {
        if MAX_TOKEN < token.len() {
            return None;
        }
        let digest = Sha256::digest(token);
        let none = u32::MAX;
        let mut found = none;
        for (index, one) in (0_u32..).zip(&self.tokens) {
            let same: Choice = one.digest.as_slice().ct_eq(digest.as_slice());
            found.conditional_assign(&index, same);
        }
        let token = self.tokens.get(usize::try_from(found).ok()?)?;
        Some(Caller::token(&token.owner, token.scopes))
    }

    /// Whoever has the certificate with that name.
    pub(crate) fn of_certificate(&self, name: &str) -> Option<Caller> {
        let named = self.certificates.get(name).copied();
        let scopes = named.unwrap_or(self.unnamed_certificate);
        (!scopes.is_empty()).then(|| Caller::certificate(name, scopes))
    }

    /// Whether a caller that was let in still has what it was let in with.
    pub(crate) fn still_has(&self, caller: &Caller) -> bool {
        let tokens = self.tokens.iter();
        let mut by_token = tokens.map(|one| Caller::token(&one.owner, one.scopes));
        let mut by_name = caller.certificate_name().into_iter();
        by_token.any(|one| one == *caller)
            || by_name.any(|name| self.of_certificate(name).as_ref() == Some(caller))
    }
}

/// Reads a file that holds a secret, or decides about others' rights.
pub(crate) fn read_private(path: &Utf8Path) -> Result<Vec<u8>, CredentialsError> {
    const OTHERS: u32 = 0o077;
    let file = File::open(path).at("open", path)?;
    let metadata = file.metadata().at("inspect", path)?;
    if !metadata.is_file() {
        let error = io::Error::from(io::ErrorKind::InvalidInput);
        return Err(PathError::new("read as a file", path, error).into());
    }
    let is_ours = metadata.uid() == geteuid().as_raw() || metadata.uid() == 0;
    if metadata.mode() & OTHERS != 0 || !is_ours {
        return Err(CredentialsError::Exposed {
            path: path.to_owned(),
        });
    }
    let mut text = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut text)
        .at("read", path)?;
    if MAX_FILE < text.len() as u64 {
        return Err(CredentialsError::TooLong {
            path: path.to_owned(),
        });
    }
    Ok(text)
}

fn token(form: TokenForm) -> Result<Token, CredentialsError> {
    let TokenForm {
        owner,
        sha256,
        scopes,
    } = form;
    check_name(&owner)?;
    let mut digest = [0; 32];
    hex::decode_to_slice(&sha256, &mut digest).map_err(|_| {
        let problem = format!("the sha256 of a token of {owner:?} is not 64 hexadecimal digits");
        CredentialsError::Form(problem)
    })?;
    let scopes = all_scopes(&owner, &scopes)?;
    Ok(Token {
        owner,
        digest,
        scopes,
    })
}

fn all_scopes(of: &str, names: &[String]) -> Result<Scopes, CredentialsError> {
    let scopes = names.iter().map(|name| name.parse::<Scope>());
    let scopes: Scopes = scopes
        .collect::<Result<_, _>>()
        .map_err(|problem| CredentialsError::Form(format!("{of:?}: {problem}")))?;
    Ok(scopes)
}

/// Names stand in records, logs and filters.
pub(crate) fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._:/@*".contains(c);
    !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(fits)
}

fn check_name(name: &str) -> Result<(), CredentialsError> {
    if is_name(name) {
        return Ok(());
    }
    let problem =
        format!("{name:?} is no name: up to {MAX_NAME} letters, digits and any of -._:/@*");
    Err(CredentialsError::Form(problem))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn listed(token: &str, scopes: &str) -> String {
        let digest = hex::encode(Sha256::digest(token));
        format!("[[token]]\nowner = \"ci\"\nsha256 = \"{digest}\"\nscopes = [{scopes}]\n")
    }

    #[test]
    fn a_token_is_known_by_its_digest_and_a_certificate_by_its_name() {
        let text = format!(
            "{}{}[[certificate]]\nname = \"runner.test\"\nscopes = [\"admin\"]\n",
            listed("one", "\"images\", \"vms:own\""),
            listed("two", "\"admin\"")
        );
        let credentials = Credentials::parse(&text).unwrap();
        let one = credentials.of_token(b"one").unwrap();
        assert_eq!(one.identity(), "token:ci");
        assert!(one.may(&[Scope::Images]) && one.may(&[Scope::OwnVms]) && !one.is_admin());
        assert!(credentials.of_token(b"two").unwrap().is_admin());
        for wrong in ["", "on", "onee", "One", &"o".repeat(MAX_TOKEN + 1)] {
            assert_eq!(credentials.of_token(wrong.as_bytes()), None, "{wrong}");
        }
        assert!(credentials.still_has(&one));
        let runner = credentials.of_certificate("runner.test").unwrap();
        assert_eq!(runner.identity(), "certificate:runner.test");
        assert_eq!(credentials.of_certificate("other.test"), None);
        let others = credentials.with_unnamed_certificate(Scopes::from_iter([Scope::Images]));
        let other = others.of_certificate("other.test").unwrap();
        assert!(other.may(&[Scope::Images]) && !other.is_admin());
        assert!(!Credentials::default().still_has(&one));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let twice = listed("one", "\"admin\"").repeat(2);
        let certificate = "[[certificate]]\nname = \"a\"\nscopes = []\n".repeat(2);
        for (text, problem) in [
            (listed("one", "\"vms\""), "scope \"vms\" is unknown"),
            (twice, "are the same"),
            (certificate, "there twice"),
            ("[[token]]\nowner = \"a\"\n".to_owned(), "missing field"),
            ("[[key]]\n".to_owned(), "unknown field"),
            (listed("one", "").replace("ci", "c i"), "is no name"),
            (
                listed("one", "").replace("sha256 = \"", "sha256 = \"x"),
                "64 hexadecimal",
            ),
        ] {
            let error = Credentials::parse(&text).unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(directory.path().join("tokens")).unwrap();
        fs::write(&path, listed("one", "\"admin\"")).unwrap();
        for (mode, fine) in [(0o600, true), (0o400, true), (0o640, false), (0o602, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let read = Credentials::read(&path);
            assert_eq!(read.is_ok(), fine, "{mode:o}: {read:?}");
        }
        assert!(Credentials::read(&path.join("x")).is_err());
        assert!(Credentials::read(path.parent().unwrap()).is_err());
    }
}

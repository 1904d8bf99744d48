//! Programs that keep credentials: `docker-credential-NAME`.
//!
//! Protocol (docker-credential-helpers): the program is started with the word
//! `get`, reads the registry's name from standard input and answers JSON with
//! `Username` and `Secret`; it fails with a fixed sentence when it has none.
//! Invariants: its answer is bounded and never quoted; it ends by its deadline
//! or is killed.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;

use super::{
    super::{AccessError, distribution::quote},
    Credential,
};
use crate::process::{Exchange, command, exchange, last_lines};

/// Longest answer.
const MAX_ANSWER: usize = 1 << 16;
/// How a program says that it has no credentials for a registry.
const NOT_FOUND: &str = "credentials not found";
/// The name that says the secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// One question to one program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Helper {
    program: String,
    server: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

impl Helper {
    /// Asks `docker-credential-{name}` for `server`.
    pub(super) fn new(name: &str, server: String) -> Self {
        Self {
            program: format!("docker-credential-{name}"),
            server,
        }
    }

    /// What the program has; none when it has nothing. Dropping the future
    /// kills it.
    pub(super) async fn ask(
        &self,
        directories: &[Utf8PathBuf],
        deadline: Duration,
    ) -> Result<Option<Credential>, AccessError> {
        let program = self.find(directories)?;
        let mut command = command(program.as_std_path());
        command.arg("get");
        let said = exchange(command, self.server.as_bytes(), deadline).await;
        let said = said.map_err(|source| AccessError::RunHelper {
            program: self.program.clone(),
            source,
        })?;
        self.read(&said)
    }

    fn find(&self, directories: &[Utf8PathBuf]) -> Result<Utf8PathBuf, AccessError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !self.program.chars().all(is_plain) {
            return Err(self.failed("its name is not valid".to_owned()));
        }
        let absolute = directories.iter().filter(|path| path.is_absolute());
        let places = absolute.map(|directory| directory.join(&self.program));
        let found = places.into_iter().find(|path| is_program(path));
        found.ok_or_else(|| AccessError::HelperMissing {
            program: self.program.clone(),
        })
    }

    fn read(&self, said: &Exchange) -> Result<Option<Credential>, AccessError> {
        if !said.success {
            let text = String::from_utf8_lossy(&said.stdout);
            if text.contains(NOT_FOUND) {
                return Ok(None);
            }
            let problem = format!(
                "it ended with {}: {}",
                said.status,
                quote(&last_lines(&said.stderr))
            );
            return Err(self.failed(problem));
        }
        if MAX_ANSWER < said.stdout.len() {
            return Err(self.failed(format!("its answer has more than {MAX_ANSWER} bytes")));
        }
        let answer = serde_json::from_slice::<Answer>(&said.stdout);
        let answer = answer.map_err(|_| self.failed("its answer is not valid".to_owned()))?;
        Ok(answer.into_credential())
    }

    fn failed(&self, problem: String) -> AccessError {
        AccessError::Helper {
            program: self.program.chars().take(100).collect(),
            problem,
        }
    }
}

impl Answer {
    /// Some programs answer with nothing when they have nothing.
    fn into_credential(self) -> Option<Credential> {
        if self.secret.is_empty() {
            return None;
        }
        let secret = self.secret.into();
        Some(if self.username == TOKEN_USER {
            Credential::Identity(secret)
        } else {
            Credential::Password {
                user: self.username,
                secret,
            }
        })
    }
}

fn is_program(path: &Utf8Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = std::fs::metadata(path);
    metadata.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

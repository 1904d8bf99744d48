//! The process's environment: variables, arguments, directories.
//!
//! Purpose: the one place that looks at them, and the list of every variable
//! banger knows. Invariants: looked at once, at the start; an empty variable
//! counts as unset. Entry points: [`Environment::read`], the constants.

use std::{env, ffi::OsString};

use banger_core::oci::ProxyOptions;
use camino::{Utf8Path, Utf8PathBuf};
use etcetera::base_strategy::{BaseStrategy as _, Xdg};

/// Directory for the database, images, kernels and VMs (`--state-dir`).
pub const BANGER_STATE_DIR: &str = "BANGER_STATE_DIR";
/// Directory for downloaded blobs (`--cache-dir`).
pub const BANGER_CACHE_DIR: &str = "BANGER_CACHE_DIR";
/// Short directory for the sockets of running VMs (`--runtime-dir`).
pub const BANGER_RUNTIME_DIR: &str = "BANGER_RUNTIME_DIR";
/// Configuration file, which must exist (`--config`).
pub const BANGER_CONFIG: &str = "BANGER_CONFIG";
/// The guest program (`--guest-program`).
pub const BANGER_GUEST_PROGRAM: &str = "BANGER_GUEST_PROGRAM";
/// The QEMU system emulator (`--qemu`).
pub const BANGER_QEMU: &str = "BANGER_QEMU";
/// Firecracker (`--firecracker`).
pub const BANGER_FIRECRACKER: &str = "BANGER_FIRECRACKER";
/// The service that is asked in place of this host (`--endpoint`).
pub const BANGER_ENDPOINT: &str = "BANGER_ENDPOINT";
/// The token that a service is shown.
pub const BANGER_TOKEN: &str = "BANGER_TOKEN";
/// When set to anything, no progress is shown.
pub const BANGER_NO_PROGRESS: &str = "BANGER_NO_PROGRESS";
/// What to log on standard error, as a `tracing` filter: `banger_core=debug`.
pub const BANGER_LOG: &str = "BANGER_LOG";
/// Every variable of banger's own, in the order of the documentation.
pub const VARIABLES: [&str; 11] = [
    BANGER_STATE_DIR,
    BANGER_CACHE_DIR,
    BANGER_RUNTIME_DIR,
    BANGER_CONFIG,
    BANGER_GUEST_PROGRAM,
    BANGER_QEMU,
    BANGER_FIRECRACKER,
    BANGER_ENDPOINT,
    BANGER_TOKEN,
    BANGER_NO_PROGRESS,
    BANGER_LOG,
];

/// Where programs are looked for.
const PATH: &str = "PATH";
/// Directory of docker's `config.json`.
pub const DOCKER_CONFIG: &str = "DOCKER_CONFIG";
/// The file of credentials that podman's kin use.
pub const REGISTRY_AUTH_FILE: &str = "REGISTRY_AUTH_FILE";
/// Proxies and what is asked without them; the upper case wins.
const PROXIES: [[&str; 2]; 3] = [
    ["HTTP_PROXY", "http_proxy"],
    ["HTTPS_PROXY", "https_proxy"],
    ["NO_PROXY", "no_proxy"],
];

/// What the process was given, apart from its arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// [`BANGER_STATE_DIR`].
    pub state_dir: Option<Utf8PathBuf>,
    /// [`BANGER_CACHE_DIR`].
    pub cache_dir: Option<Utf8PathBuf>,
    /// [`BANGER_RUNTIME_DIR`].
    pub runtime_dir: Option<Utf8PathBuf>,
    /// [`BANGER_CONFIG`].
    pub config: Option<Utf8PathBuf>,
    /// [`BANGER_GUEST_PROGRAM`].
    pub guest_program: Option<Utf8PathBuf>,
    /// [`BANGER_QEMU`].
    pub qemu: Option<Utf8PathBuf>,
    /// [`BANGER_FIRECRACKER`].
    pub firecracker: Option<Utf8PathBuf>,
    /// [`BANGER_ENDPOINT`].
    pub endpoint: Option<String>,
    /// [`BANGER_TOKEN`].
    pub token: Option<Secret>,
    /// [`BANGER_NO_PROGRESS`].
    pub no_progress: bool,
    /// [`BANGER_LOG`].
    pub log: Option<String>,
    /// Directories of `PATH`, in order.
    pub path: Vec<Utf8PathBuf>,
    /// [`DOCKER_CONFIG`].
    pub docker_config: Option<Utf8PathBuf>,
    /// [`REGISTRY_AUTH_FILE`].
    pub registry_auth_file: Option<Utf8PathBuf>,
    /// Proxies to registries.
    pub proxies: ProxyOptions,
    /// The user's home directory.
    pub home: Option<Utf8PathBuf>,
    /// The XDG base directories; none when there is no home directory.
    pub base: Option<BaseDirectories>,
    /// `$XDG_RUNTIME_DIR`.
    pub xdg_runtime: Option<Utf8PathBuf>,
    /// The directory the process was started in.
    pub working_directory: Utf8PathBuf,
    /// This program's own file.
    pub executable: Utf8PathBuf,
    /// The user's id.
    pub user_id: u32,
}

/// The XDG base directories with their defaults applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseDirectories {
    /// `$XDG_CONFIG_HOME`, else `~/.config`.
    pub config: Utf8PathBuf,
    /// `$XDG_STATE_HOME`, else `~/.local/state`.
    pub state: Utf8PathBuf,
    /// `$XDG_CACHE_HOME`, else `~/.cache`.
    pub cache: Utf8PathBuf,
}

/// What is shown to nobody but whom it is for.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("Secret")
    }
}

/// The environment cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// A variable is not UTF-8.
    #[error("variable {variable} is not valid UTF-8")]
    NotUtf8 {
        /// The variable.
        variable: &'static str,
    },
    /// The working directory or the program's own file is not known.
    #[error("failed to find {what}")]
    Unknown {
        /// Which of them.
        what: &'static str,
        /// The cause.
        source: std::io::Error,
    },
}

/// [`BANGER_LOG`] alone, for a monitor, which needs nothing else and cannot
/// complain.
#[must_use]
pub(crate) fn log_filter() -> Option<String> {
    variable(BANGER_LOG).ok().flatten()
}

impl Environment {
    /// Looks at the environment.
    pub fn read() -> Result<Self, EnvironmentError> {
        let xdg = Xdg::new().ok();
        Ok(Self {
            state_dir: path_variable(BANGER_STATE_DIR)?,
            cache_dir: path_variable(BANGER_CACHE_DIR)?,
            runtime_dir: path_variable(BANGER_RUNTIME_DIR)?,
            config: path_variable(BANGER_CONFIG)?,
            guest_program: path_variable(BANGER_GUEST_PROGRAM)?,
            qemu: path_variable(BANGER_QEMU)?,
            firecracker: path_variable(BANGER_FIRECRACKER)?,
            endpoint: variable(BANGER_ENDPOINT)?,
            token: variable(BANGER_TOKEN)?.map(Secret),
            no_progress: variable(BANGER_NO_PROGRESS)?.is_some(),
            log: variable(BANGER_LOG)?,
            path: search_path(),
            docker_config: path_variable(DOCKER_CONFIG)?,
            registry_auth_file: path_variable(REGISTRY_AUTH_FILE)?,
            proxies: proxies()?,
            home: xdg.as_ref().and_then(|xdg| utf8(xdg.home_dir().to_owned())),
            xdg_runtime: xdg.as_ref().and_then(Xdg::runtime_dir).and_then(utf8),
            base: xdg.as_ref().and_then(base_directories),
            working_directory: known("the working directory", env::current_dir())?,
            executable: known("the program's own file", env::current_exe())?,
            user_id: rustix::process::geteuid().as_raw(),
        })
    }

    /// `path`, relative to the working directory.
    #[must_use]
    pub fn absolute(&self, path: &Utf8Path) -> Utf8PathBuf {
        self.working_directory.join(path)
    }
}

/// The command line, program name first.
#[must_use]
pub fn arguments() -> Vec<OsString> {
    env::args_os().collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the environment"
)]
fn raw_variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

fn variable(name: &'static str) -> Result<Option<String>, EnvironmentError> {
    let value = raw_variable(name).map(OsString::into_string).transpose();
    value.map_err(|_| EnvironmentError::NotUtf8 { variable: name })
}

fn path_variable(name: &'static str) -> Result<Option<Utf8PathBuf>, EnvironmentError> {
    Ok(variable(name)?.map(Utf8PathBuf::from))
}

fn proxies() -> Result<ProxyOptions, EnvironmentError> {
    let first = |[upper, lower]: [&'static str; 2]| match variable(upper)? {
        Some(value) => Ok(Some(value)),
        None => variable(lower),
    };
    let [http, https, no_proxy] = PROXIES;
    Ok(ProxyOptions {
        http: first(http)?,
        https: first(https)?,
        no_proxy: first(no_proxy)?.unwrap_or_default(),
    })
}

/// Directories that are not UTF-8 cannot hold a program banger can name.
fn search_path() -> Vec<Utf8PathBuf> {
    let path = raw_variable(PATH).unwrap_or_default();
    env::split_paths(&path).filter_map(utf8).collect()
}

fn utf8(path: std::path::PathBuf) -> Option<Utf8PathBuf> {
    Utf8PathBuf::from_path_buf(path).ok()
}

fn base_directories(xdg: &Xdg) -> Option<BaseDirectories> {
    Some(BaseDirectories {
        config: utf8(xdg.config_dir())?,
        state: utf8(xdg.state_dir()?)?,
        cache: utf8(xdg.cache_dir())?,
    })
}

fn known(
    what: &'static str,
    path: std::io::Result<std::path::PathBuf>,
) -> Result<Utf8PathBuf, EnvironmentError> {
    let path = path.map_err(|source| EnvironmentError::Unknown { what, source })?;
    Utf8PathBuf::from_path_buf(path).map_err(|_| EnvironmentError::Unknown {
        what,
        source: std::io::Error::other("the path is not valid UTF-8"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_is_documented() {
        let document = include_str!("../../docs/configuration.md");
        for variable in VARIABLES {
            let rows = document
                .lines()
                .filter(|line| line.starts_with("| ") && line.contains(&format!("`{variable}`")));
            assert_eq!(rows.count(), 1, "{variable}");
        }
    }
}

//! How registries are reached in one run of the program.
//!
//! Purpose: configuration and environment together ([`options`]), and what the
//! command line adds to them ([`sign_in`]). Invariants: functions of their
//! inputs; a password comes from standard input alone and is never shown.
//! Entry points: [`options`], [`sign_in`], [`read_password`].

use std::io::Read;

use banger_core::oci::{
    AuthFile, CredentialSource, HostOptions, ImageReference, ProxyOptions, RegistryCredentials,
    RegistryOptions,
};
use camino::Utf8PathBuf;

use crate::{
    args::RegistryArgs, config::RegistriesConfig, environment::Environment, error::CliError,
};

/// Longest password that is read.
const MAX_PASSWORD: u64 = 1 << 16;

/// What configuration and environment say.
#[must_use]
pub fn options(environment: &Environment, config: &RegistriesConfig) -> RegistryOptions {
    let hosts = config.host.iter().map(|(name, host)| {
        let options = HostOptions {
            mirrors: host.mirrors.clone(),
            ca_file: host.ca_file.clone(),
        };
        (name.clone(), options)
    });
    let helpers = config.host.iter().filter_map(|(name, host)| {
        let helper = host.credential_helper.clone()?;
        Some((name.clone(), helper))
    });
    RegistryOptions {
        credentials: CredentialSource {
            helpers: helpers.collect(),
            auth_files: auth_files(environment, config),
            program_directories: environment.path.clone(),
            ..CredentialSource::default()
        },
        plain_http: config.plain_http.clone(),
        hosts: hosts.collect(),
        proxies: proxies(&environment.proxies, &config.proxy),
        ..RegistryOptions::default()
    }
}

/// The file that was named, else those of docker and podman.
fn auth_files(environment: &Environment, config: &RegistriesConfig) -> Vec<AuthFile> {
    let named = environment.registry_auth_file.as_ref();
    if let Some(path) = named.or(config.auth_file.as_ref()) {
        return vec![AuthFile {
            path: environment.absolute(path),
            must_exist: true,
        }];
    }
    let home = environment.home.as_ref().map(|home| home.join(".docker"));
    let docker = environment.docker_config.clone().or(home);
    let session = environment.xdg_runtime.as_ref();
    let base = environment.base.as_ref().map(|base| &base.config);
    let podman = |directory: &Utf8PathBuf| directory.join("containers/auth.json");
    let places = [
        docker.map(|directory| directory.join("config.json")),
        session.map(podman),
        base.map(podman),
    ];
    let usual = places.into_iter().flatten().map(|path| AuthFile {
        path: environment.absolute(&path),
        must_exist: false,
    });
    usual.collect()
}

fn proxies(environment: &ProxyOptions, config: &ProxyOptions) -> ProxyOptions {
    let first = |one: &Option<String>, other: &Option<String>| {
        one.as_deref().or(other.as_deref()).map(with_scheme)
    };
    let no_proxy = [&config.no_proxy, &environment.no_proxy];
    let no_proxy = no_proxy.into_iter().find(|list| !list.is_empty());
    ProxyOptions {
        http: first(&config.http, &environment.http),
        https: first(&config.https, &environment.https),
        no_proxy: no_proxy.cloned().unwrap_or_default(),
    }
}

/// Many write a proxy as `host:port`.
fn with_scheme(proxy: &str) -> String {
    if proxy.contains("://") {
        proxy.to_owned()
    } else {
        format!("http://{proxy}")
    }
}

/// Adds what the command line says; `password` is asked for at most once.
pub fn sign_in(
    options: RegistryOptions,
    args: RegistryArgs,
    reference: Option<&ImageReference>,
    environment: &Environment,
    password: impl FnOnce() -> Result<String, CliError>,
) -> Result<RegistryOptions, CliError> {
    let mut options = options;
    if let Some(path) = args.authfile {
        options.credentials.helpers.clear();
        options.credentials.auth_files = vec![AuthFile {
            path: environment.absolute(&path),
            must_exist: true,
        }];
    }
    if let Some(user) = args.username {
        let Some(ImageReference::Registry(image)) = reference else {
            return Err(CliError::usage("--username is for images of registries"));
        };
        options.credentials.given.push(RegistryCredentials {
            registry: image.registry().to_owned(),
            user,
            secret: password()?,
        });
    }
    Ok(options)
}

/// Reads a password to the end of `input`; a line's end is not part of it.
pub fn read_password(input: impl Read) -> Result<String, CliError> {
    let mut text = Vec::new();
    let read = input.take(MAX_PASSWORD + 1).read_to_end(&mut text);
    read.map_err(|source| CliError::Setup {
        what: "standard input",
        source,
    })?;
    if MAX_PASSWORD < text.len() as u64 {
        return Err(CliError::usage(format!(
            "the password has more than {MAX_PASSWORD} bytes"
        )));
    }
    let text = String::from_utf8(text)
        .map_err(|_| CliError::usage("the password on standard input is not valid UTF-8"))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(CliError::usage("there is no password on standard input"));
    }
    Ok(line.to_owned())
}

#[cfg(test)]
mod tests;

//! A service in place of this host.
//!
//! Purpose: flag > variable > configuration, as everywhere, and the client of what
//! comes out. Invariants: [`resolve`] reads nothing; a token is shown to nobody but a
//! service whose certificate was checked. Entry points: [`resolve`],
//! [`Endpoint::client`].

use std::{fs, time::Duration};

use banger_client::{Client, Remote};
use banger_core::remote::RemoteError;
use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    args::ServiceArgs,
    config::ServiceConfig,
    environment::{Environment, Secret},
    error::CliError,
};

/// What stands for this host.
const LOCAL: &str = "local";
/// What addresses begin with.
const SOCKET: &str = "unix://";
const ELSEWHERE: &str = "https://";
/// How long a call is tried anew whose service went away.
const PATIENCE: Duration = Duration::from_mins(1);
/// Most bytes of a file with a token.
const MAX_TOKEN: u64 = 4096;

/// A service, and what it knows us by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it is, for people.
    uri: String,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// On this host; it knows us by our user.
    Socket(Utf8PathBuf),
    /// Elsewhere.
    Elsewhere(Box<Credentials>),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Credentials {
    authorities: Option<Utf8PathBuf>,
    certificate: Option<(Utf8PathBuf, Utf8PathBuf)>,
    server_name: Option<String>,
    token_file: Option<Utf8PathBuf>,
    token: Option<Secret>,
}

/// The service that is asked; none is this host itself.
pub fn resolve(
    flags: &ServiceArgs,
    environment: &Environment,
    config: &ServiceConfig,
) -> Result<Option<Endpoint>, CliError> {
    let uri = flags.endpoint.as_ref().or(environment.endpoint.as_ref());
    let Some(uri) = uri.or(config.endpoint.as_ref()) else {
        return Ok(None);
    };
    if uri == LOCAL {
        return Ok(None);
    }
    let place = if let Some(path) = uri.strip_prefix(SOCKET) {
        if !path.starts_with('/') || path.ends_with('/') {
            return Err(CliError::usage(format!(
                "endpoint {uri:?} has no absolute path of a socket"
            )));
        }
        Place::Socket(path.into())
    } else if uri.starts_with(ELSEWHERE) {
        Place::Elsewhere(Box::new(credentials(flags, environment, config)?))
    } else {
        return Err(CliError::usage(format!(
            "endpoint {uri:?} is not unix:///SOCKET, https://HOST:PORT or local"
        )));
    };
    let uri = uri.clone();
    Ok(Some(Endpoint { uri, place }))
}

fn credentials(
    flags: &ServiceArgs,
    environment: &Environment,
    config: &ServiceConfig,
) -> Result<Credentials, CliError> {
    let file = |flag: &Option<Utf8PathBuf>, configured: &Option<Utf8PathBuf>| {
        let path = flag.as_ref().or(configured.as_ref());
        path.map(|path| environment.absolute(path))
    };
    let certificate = file(&flags.tls_cert, &config.tls_cert);
    let key = file(&flags.tls_key, &config.tls_key);
    let certificate = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            return Err(CliError::usage(
                "a certificate and its key are given together: --tls-cert and --tls-key",
            ));
        }
    };
    // a flag wins over the variable, which wins over the configuration
    let token_file = match (&flags.token_file, &environment.token) {
        (None, Some(_)) => None,
        _ => file(&flags.token_file, &config.token_file),
    };
    Ok(Credentials {
        authorities: file(&flags.tls_ca, &config.tls_ca),
        certificate,
        server_name: flags.tls_name.clone().or_else(|| config.tls_name.clone()),
        token: environment.token.clone().filter(|_| token_file.is_none()),
        token_file,
    })
}

impl Endpoint {
    /// A client of the service, which answers.
    pub async fn client(&self) -> Result<Client, CliError> {
        let client = match &self.place {
            Place::Socket(socket) => Client::connect(socket, PATIENCE),
            Place::Elsewhere(credentials) => {
                Client::connect_remote(&credentials.remote(&self.uri)?, PATIENCE)
            }
        };
        let client = client.map_err(service)?;
        client.reach(&self.uri).await.map_err(service)?;
        Ok(client)
    }
}

fn service(failure: banger_client::Failure) -> CliError {
    CliError::Service(Box::new(RemoteError::from(failure)))
}

impl Credentials {
    fn remote(&self, uri: &str) -> Result<Remote, CliError> {
        let identity = match &self.certificate {
            Some((certificate, key)) => Some((read(certificate)?, read(key)?)),
            None => None,
        };
        let token = match (&self.token_file, &self.token) {
            (Some(path), _) => Some(read_token(path)?),
            (None, Some(Secret(token))) => Some(token.clone()),
            (None, None) => None,
        };
        Ok(Remote {
            uri: uri.to_owned(),
            server_name: self.server_name.clone(),
            authorities: self.authorities.as_deref().map(read).transpose()?,
            identity,
            token,
        })
    }
}

fn read(path: &Utf8Path) -> Result<Vec<u8>, CliError> {
    fs::read(path).map_err(|source| CliError::Credential {
        path: path.to_owned(),
        source,
    })
}

/// The token in a file, whose last line may be ended.
fn read_token(path: &Utf8Path) -> Result<String, CliError> {
    let failed = |source| CliError::Credential {
        path: path.to_owned(),
        source,
    };
    if MAX_TOKEN < fs::metadata(path).map_err(failed)?.len() {
        return Err(CliError::usage(format!("{path} is too long to be a token")));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    let token = text.trim_end_matches(['\r', '\n']);
    if token.is_empty() {
        return Err(CliError::usage(format!("{path} has no token")));
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(endpoint: &str) -> ServiceArgs {
        ServiceArgs {
            endpoint: Some(endpoint.to_owned()),
            ..ServiceArgs::default()
        }
    }

    #[test]
    fn flags_win_over_variables_and_these_over_the_configuration() {
        let config = ServiceConfig {
            endpoint: Some("unix:///config".to_owned()),
            ..ServiceConfig::default()
        };
        let mut environment = Environment::default();
        let place = |flags: &ServiceArgs, environment: &Environment| {
            let endpoint = resolve(flags, environment, &config).unwrap();
            endpoint.map(|endpoint| endpoint.uri)
        };
        let none = ServiceArgs::default();
        assert_eq!(place(&none, &environment).unwrap(), "unix:///config");
        environment.endpoint = Some("unix:///variable".to_owned());
        assert_eq!(place(&none, &environment).unwrap(), "unix:///variable");
        assert_eq!(
            place(&flags("unix:///flag"), &environment).unwrap(),
            "unix:///flag"
        );
        assert_eq!(place(&flags("local"), &environment), None);
        let nothing = ServiceConfig::default();
        assert_eq!(
            resolve(&none, &Environment::default(), &nothing).unwrap(),
            None
        );
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        let config = ServiceConfig::default();
        let environment = Environment::default();
        for text in ["http://h:1", "unix://relative", "unix:///", "h:1", ""] {
            let refused = resolve(&flags(text), &environment, &config);
            assert!(refused.is_err(), "{text}");
        }
        let half = ServiceArgs {
            tls_cert: Some("/c".into()),
            ..flags("https://h:1")
        };
        assert!(resolve(&half, &environment, &config).is_err());
    }

    #[test]
    fn a_token_is_of_one_place_and_never_shown() {
        let environment = Environment {
            token: Some(Secret("hidden".to_owned())),
            ..Environment::default()
        };
        let config = ServiceConfig {
            token_file: Some("/t".into()),
            ..ServiceConfig::default()
        };
        let endpoint = resolve(&flags("https://h:1"), &environment, &config).unwrap();
        let endpoint = endpoint.unwrap();
        assert!(!format!("{endpoint:?} {environment:?}").contains("hidden"));
        let Place::Elsewhere(credentials) = endpoint.place else {
            panic!("{endpoint:?}");
        };
        assert_eq!(
            (credentials.token_file, credentials.token),
            (None, environment.token.clone())
        );
        let named = ServiceArgs {
            token_file: Some("/f".into()),
            ..flags("https://h:1")
        };
        let Place::Elsewhere(credentials) = resolve(&named, &environment, &config)
            .unwrap()
            .unwrap()
            .place
        else {
            panic!("it is elsewhere");
        };
        assert_eq!(
            (credentials.token_file, credentials.token),
            (Some("/f".into()), None)
        );
    }
}

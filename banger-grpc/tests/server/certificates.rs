//! Authorities, certificates and tokens of a test's own.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command, sync::Arc, time::Duration};

use banger_client::{Client, Remote};
use banger_grpc::{
    caller::Scope,
    server::{Limits, Options},
    transport::security::{Security, SecurityFiles},
};
use camino::{Utf8Path, Utf8PathBuf};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::harness::Running;

/// What every client's budget is.
const BUDGET: Duration = Duration::from_mins(1);

/// Files of authorities, certificates, keys and tokens.
pub(crate) struct Papers {
    _scratch: TempDir,
    root: Utf8PathBuf,
}

impl Papers {
    /// An authority `ca`, a certificate `server` of it, and no tokens.
    pub(crate) fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(scratch.path().to_owned()).unwrap();
        let papers = Self {
            _scratch: scratch,
            root,
        };
        papers.authority("ca");
        papers.certify("server", "ca", "server.test");
        papers.list(&[]);
        papers
    }

    pub(crate) fn path(&self, name: &str) -> Utf8PathBuf {
        self.root.join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn authority(&self, name: &str) {
        let subject = format!("/CN={name}");
        make(&self.root, name, &["-subj", &subject]);
    }

    /// A certificate with a DNS name, of an authority.
    pub(crate) fn certify(&self, name: &str, authority: &str, dns: &str) {
        let alternative = format!("subjectAltName=DNS:{dns}");
        let (certificate, key) = (format!("{authority}.crt"), format!("{authority}.key"));
        let (certificate, key) = (self.path(&certificate), self.path(&key));
        let of = ["-CA", certificate.as_str(), "-CAkey", key.as_str()];
        let what = ["-subj", "/CN=x", "-addext", &alternative];
        let end = ["-addext", "basicConstraints=critical,CA:FALSE"];
        make(&self.root, name, &[&of[..], &what, &end].concat());
    }

    /// Writes the file of tokens, each an owner, a token and its scopes.
    pub(crate) fn list(&self, tokens: &[(&str, &str, &[&str])]) {
        let entries = tokens.iter().map(|(owner, token, scopes)| {
            let digest = hex::encode(Sha256::digest(token));
            format!("[[token]]\nowner = {owner:?}\nsha256 = {digest:?}\nscopes = {scopes:?}\n")
        });
        let text: String = entries.collect();
        self.write_tokens(&text);
    }

    pub(crate) fn write_tokens(&self, text: &str) {
        let path = self.path("tokens");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// TLS with tokens.
    pub(crate) fn with_tokens(&self) -> SecurityFiles {
        SecurityFiles {
            certificate: Some(self.path("server.crt")),
            key: Some(self.path("server.key")),
            tokens: Some(self.path("tokens")),
            ..SecurityFiles::default()
        }
    }

    /// TLS with clients' certificates.
    pub(crate) fn with_certificates(&self) -> SecurityFiles {
        SecurityFiles {
            client_authorities: Some(self.path("ca.crt")),
            certificate_scopes: [Scope::OwnVms].into_iter().collect(),
            tokens: None,
            ..self.with_tokens()
        }
    }

    /// A client of ours.
    pub(crate) fn client(
        &self,
        running: &Running,
        token: Option<&str>,
        identity: Option<&str>,
    ) -> Client {
        let identity = identity.map(|name| self.identity(name));
        let remote = Remote {
            uri: format!("https://{}", running.address.unwrap()),
            server_name: Some("server.test".to_owned()),
            authorities: Some(self.read("ca.crt")),
            identity,
            token: token.map(str::to_owned),
        };
        Client::connect_remote(&remote, BUDGET).unwrap()
    }

    fn identity(&self, name: &str) -> (Vec<u8>, Vec<u8>) {
        let file = |kind| self.read(&format!("{name}.{kind}"));
        (file("crt"), file("key"))
    }

    /// A bare connection.
    pub(crate) async fn channel(
        &self,
        running: &Running,
        authority: &str,
        identity: Option<&str>,
    ) -> Result<Channel, tonic::transport::Error> {
        let authority = Certificate::from_pem(self.read(&format!("{authority}.crt")));
        let tls = ClientTlsConfig::new().ca_certificate(authority);
        let mut tls = tls.domain_name("server.test");
        if let Some((certificate, key)) = identity.map(|name| self.identity(name)) {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        let uri = format!("https://{}", running.address.unwrap());
        let endpoint = Endpoint::try_from(uri).unwrap().tls_config(tls).unwrap();
        endpoint.connect().await
    }
}

/// A server's options with that security.
pub(crate) fn options(files: SecurityFiles) -> Options {
    Options {
        security: Arc::new(Security::load(files).unwrap()),
        ..Options::from(Limits::default())
    }
}

fn make(root: &Utf8Path, name: &str, extra: &[&str]) {
    let line = "req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:P-256";
    let (key, certificate) = (format!("{name}.key"), format!("{name}.crt"));
    #[expect(clippy::disallowed_methods, reason = "a tool of the test's own")]
    let mut openssl = Command::new("openssl");
    let output = openssl
        .current_dir(root)
        .args(line.split(' '))
        .args(["-keyout", &key, "-out", &certificate])
        .args(extra)
        .output();
    let output = output.expect("package openssl is needed: use `cargo xtask test`");
    assert!(output.status.success(), "{output:?}");
    let alone = fs::Permissions::from_mode(0o600);
    fs::set_permissions(root.join(&key), alone).unwrap();
}

//! `[service]`: a service in place of this host.

use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;

/// How a service is reached. A token is in a file of its own.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ServiceConfig {
    /// Where it is: `unix:///SOCKET` or `https://HOST:PORT`.
    pub endpoint: Option<String>,
    /// Authorities that its certificate may come from, in PEM.
    pub tls_ca: Option<Utf8PathBuf>,
    /// Our certificate, in PEM.
    pub tls_cert: Option<Utf8PathBuf>,
    /// The key of that certificate, in PEM.
    pub tls_key: Option<Utf8PathBuf>,
    /// The name in its certificate.
    pub tls_name: Option<String>,
    /// The file with our token.
    pub token_file: Option<Utf8PathBuf>,
}

impl ServiceConfig {
    pub(super) fn relative_to(self, directory: &Utf8Path) -> Self {
        let absolute = |path: Option<Utf8PathBuf>| path.map(|path| directory.join(path));
        Self {
            endpoint: self.endpoint,
            tls_ca: absolute(self.tls_ca),
            tls_cert: absolute(self.tls_cert),
            tls_key: absolute(self.tls_key),
            tls_name: self.tls_name,
            token_file: absolute(self.token_file),
        }
    }
}

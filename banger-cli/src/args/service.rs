//! A service in place of this host.

use camino::Utf8PathBuf;
use clap::Args;

/// How a service is reached.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceArgs {
    /// Ask the service at unix:///SOCKET or https://HOST:PORT in place of this host, or this
    /// host after all: local
    #[arg(long, global = true, value_name = "URI", help_heading = "Service")]
    pub endpoint: Option<String>,
    /// Believe the service by these authorities, in PEM, and not by the system's
    #[arg(long, global = true, value_name = "FILE", help_heading = "Service")]
    pub tls_ca: Option<Utf8PathBuf>,
    /// Show the service this certificate, in PEM
    #[arg(long, global = true, value_name = "FILE", help_heading = "Service")]
    pub tls_cert: Option<Utf8PathBuf>,
    /// The key of that certificate, in PEM
    #[arg(long, global = true, value_name = "FILE", help_heading = "Service")]
    pub tls_key: Option<Utf8PathBuf>,
    /// The name in the service's certificate, where it is not the host's in the URI
    #[arg(long, global = true, value_name = "NAME", help_heading = "Service")]
    pub tls_name: Option<String>,
    /// Show the service the token in this file; BANGER_TOKEN has one as well
    #[arg(long, global = true, value_name = "FILE", help_heading = "Service")]
    pub token_file: Option<Utf8PathBuf>,
}

//! How registries are signed in to.

use camino::Utf8PathBuf;
use clap::{Args, builder::NonEmptyStringValueParser};

/// How the image's registry is signed in to.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryArgs {
    /// Sign in to the image's registry as this user
    #[arg(
        long,
        value_name = "USER",
        value_parser = NonEmptyStringValueParser::new(),
        requires = "password_stdin",
        help_heading = "Registry"
    )]
    pub username: Option<String>,
    /// Read the user's password from standard input
    #[arg(long, requires = "username", help_heading = "Registry")]
    pub password_stdin: bool,
    /// Take credentials from this file alone
    ///
    /// It is one that `docker login` or `podman login` wrote. By default those
    /// that docker and podman use are looked at.
    #[arg(long, value_name = "FILE", help_heading = "Registry")]
    pub authfile: Option<Utf8PathBuf>,
}

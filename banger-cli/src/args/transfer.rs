//! `banger vm cp` and `banger vm port-forward`.

use std::ffi::OsString;

use clap::{Args, builder::NonEmptyStringValueParser};

use super::ports::PortForward;

/// Arguments of `vm cp`.
#[derive(Args, Clone, Debug)]
pub struct CopyArgs {
    /// What is copied: VM:PATH, a path of the host, or - for a tar file on standard input
    pub source: OsString,
    /// Where it is copied to: VM:PATH, a path of the host, or - for a tar file on standard output
    pub destination: OsString,
    /// Keep owners, by number, and extended attributes
    #[arg(long, short)]
    pub archive: bool,
    /// Copy what SOURCE points to when it is a symbolic link
    #[arg(long, short = 'L')]
    pub follow_link: bool,
}

/// Arguments of `vm port-forward`.
#[derive(Args, Clone, Debug)]
pub struct PortForwardArgs {
    /// Name, id, or part of an id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub vm: String,
    /// Ports to forward; a host port of 0 is chosen, one left out is the guest's
    #[arg(required = true, value_name = "[[ADDRESS:]HOST_PORT:]GUEST_PORT")]
    pub ports: Vec<PortForward>,
}

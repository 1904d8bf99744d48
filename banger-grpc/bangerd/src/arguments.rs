//! The command line.

use std::{net::SocketAddr, sync::Arc};

use banger_cli::args::GlobalArgs;
use banger_grpc::{
    server::{Limits, Options},
    transport::security::Security,
};
use camino::Utf8PathBuf;
use clap::{Args, Parser};

use crate::{budget::BudgetArguments, listen::ListenArguments};

/// Serve banger's API: images as virtual machines, over gRPC
///
/// It listens on a Unix socket that only its own user and root can use, and over TLS
/// where it is told to. SIGHUP has it read certificates and tokens again. SIGTERM ends
/// it when the calls of the moment are done; virtual machines run on.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "bangerd", version)]
pub(crate) struct Arguments {
    /// Listen on this socket, in a directory that is the user's alone [default:
    /// grpc.sock in the runtime directory]
    #[arg(long, value_name = "SOCKET")]
    pub(crate) socket: Option<Utf8PathBuf>,
    /// Read this configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<Utf8PathBuf>,
    /// Keep the database, images, kernels and VMs here
    #[arg(long, value_name = "DIR")]
    state_dir: Option<Utf8PathBuf>,
    /// Keep downloaded blobs here
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<Utf8PathBuf>,
    /// Keep the sockets of running VMs here; must be short
    #[arg(long, value_name = "DIR")]
    runtime_dir: Option<Utf8PathBuf>,
    /// Use this guest program (banger-guest)
    #[arg(long, value_name = "FILE")]
    guest_program: Option<Utf8PathBuf>,
    /// Use this QEMU system emulator
    #[arg(long, value_name = "FILE")]
    qemu: Option<Utf8PathBuf>,
    /// Use this Firecracker
    #[arg(long, value_name = "FILE")]
    firecracker: Option<Utf8PathBuf>,
    #[command(flatten)]
    pub(crate) serve: ServeArguments,
    #[command(flatten)]
    pub(crate) listen: ListenArguments,
    #[command(flatten)]
    pub(crate) budget: BudgetArguments,
}

/// What the service gives to whom.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ServeArguments {
    /// Do not describe the services to clients that ask (gRPC reflection)
    #[arg(long)]
    no_reflection: bool,
    /// Most calls at a time of one caller [default: 4096]
    #[arg(long, value_name = "COUNT")]
    max_calls_per_caller: Option<u32>,
    /// Most connections at a time of each listener [default: 1024]
    #[arg(long, value_name = "COUNT")]
    max_connections: Option<u32>,
    /// Tell Prometheus what is counted, on this address of the loopback interface
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) metrics: Option<SocketAddr>,
}

impl ServeArguments {
    /// What the server is made with.
    pub(crate) fn options(&self, security: Arc<Security>) -> Options {
        let usual = Limits::default();
        Options {
            limits: Limits {
                calls_per_caller: self.max_calls_per_caller.unwrap_or(usual.calls_per_caller),
                connections: self.max_connections.unwrap_or(usual.connections),
                ..usual
            },
            security,
            reflection: !self.no_reflection,
        }
    }
}

impl Arguments {
    /// What they mean for the settings that the `banger` command has, too.
    pub(crate) fn global(&self) -> GlobalArgs {
        GlobalArgs {
            config: self.config.clone(),
            state_dir: self.state_dir.clone(),
            cache_dir: self.cache_dir.clone(),
            runtime_dir: self.runtime_dir.clone(),
            guest_program: self.guest_program.clone(),
            qemu: self.qemu.clone(),
            firecracker: self.firecracker.clone(),
            ..GlobalArgs::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use banger_grpc::caller::Scope;
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_reaches_the_settings() {
        Arguments::command().debug_assert();
        let words = ["bangerd", "--socket=/s/b", "--state-dir=/s", "--qemu=/q"];
        let arguments = Arguments::try_parse_from(words).unwrap();
        assert_eq!(arguments.socket.as_deref(), Some("/s/b".into()));
        let global = arguments.global();
        assert_eq!(global.state_dir.as_deref(), Some("/s".into()));
        assert_eq!(global.qemu.as_deref(), Some("/q".into()));
    }

    #[test]
    fn a_certificate_comes_with_its_key_and_scopes_are_known() {
        let parse = |words: &[&str]| {
            let words = ["bangerd"].iter().chain(words);
            Arguments::try_parse_from(words)
        };
        assert!(parse(&["--tls-certificate=c"]).is_err());
        assert!(parse(&["--tls-client-scopes=vms"]).is_err());
        assert!(parse(&["--listen=localhost"]).is_err());
        let arguments = parse(&[
            "--listen=127.0.0.1:1",
            "--listen=[::1]:2",
            "--tls-certificate=c",
            "--tls-key=k",
            "--tls-client-scopes=admin,images",
        ]);
        let arguments = arguments.unwrap();
        assert_eq!(arguments.listen.listen.len(), 2);
        let files = arguments.listen.files();
        assert!(files.certificate_scopes.has(Scope::Admin));
        assert!(!files.certificate_scopes.has(Scope::OwnVms));
        let usual = parse(&[]).unwrap().listen.files().certificate_scopes;
        assert!(usual.has(Scope::OwnVms) && !usual.has(Scope::Admin));
    }
}

//! The command line.

use banger_cli::args::GlobalArgs;
use camino::Utf8PathBuf;
use clap::Parser;

use crate::budget::BudgetArguments;

/// Serve banger's API: images as virtual machines, over gRPC
///
/// It listens on a Unix socket that only its own user and root can use. SIGTERM
/// ends it when the calls of the moment are done; virtual machines run on.
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
    pub(crate) budget: BudgetArguments,
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
}

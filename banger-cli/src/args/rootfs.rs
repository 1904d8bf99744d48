//! `banger rootfs …`.

use banger_core::domain::Bytes;
use camino::Utf8PathBuf;
use clap::{Args, Subcommand};

use super::RegistryArgs;

/// What can be done with root disks alone.
#[derive(Clone, Debug, Subcommand)]
pub enum RootfsCommand {
    /// Build an ext4 disk of an OCI image, without a kernel or a record
    Build(BuildRootfsArgs),
}

/// Arguments of `rootfs build`.
#[derive(Args, Clone, Debug)]
pub struct BuildRootfsArgs {
    /// Where the image is: HOST/PATH[:TAG][@DIGEST], oci:DIR[:TAG],
    /// oci-archive:FILE[:TAG], docker-archive:FILE[:NAME[:TAG]] or
    /// rootfs-tar:FILE
    ///
    /// docker-archive:FILE:@0 is the first image of the archive. rootfs-tar:-
    /// reads a tar stream from standard input. Tar files may be compressed
    /// with gzip or zstd.
    pub reference: String,
    /// Write the disk here; there must be nothing
    #[arg(long, short, value_name = "FILE")]
    pub output: Utf8PathBuf,
    /// Make the disk this large (4G, 512MiB; a bare number is MiB)
    ///
    /// By default a quarter more than the content, and at least 1 GiB.
    #[arg(long, value_name = "SIZE")]
    pub size: Option<Bytes>,
    /// How its registry is signed in to.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// Leave the journal out
    #[arg(long)]
    pub no_journal: bool,
    /// Hold at most about this much of the layers in memory
    #[arg(long, value_name = "SIZE", help_heading = "Resources")]
    pub memory: Option<Bytes>,
    /// Inflate at most this many layers at the same time
    ///
    /// By default as many as there are cores. The disk's bytes do not depend
    /// on it.
    #[arg(
        long,
        value_name = "NUMBER",
        value_parser = clap::value_parser!(u16).range(1..=256),
        help_heading = "Resources"
    )]
    pub threads: Option<u16>,
}

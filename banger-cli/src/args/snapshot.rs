//! `banger snapshot …` and `banger vm restore`.

use banger_core::domain::{PublishedPort, VmName};
use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};

use super::{LeaseArgs, values};

/// What can be done with snapshots that are there.
#[derive(Clone, Debug, Subcommand)]
pub enum SnapshotCommand {
    /// List snapshots, oldest first
    #[command(visible_alias = "ls")]
    List,
    /// Show one snapshot
    #[command(visible_alias = "inspect")]
    Show(ShowSnapshotArgs),
    /// Delete snapshots
    ///
    /// VMs that went on from them are not touched.
    #[command(visible_alias = "rm")]
    Delete(DeleteSnapshotsArgs),
}

/// Arguments of `snapshot show`.
#[derive(Args, Clone, Debug)]
pub struct ShowSnapshotArgs {
    /// The snapshot's id, or part of it
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub snapshot: String,
}

/// Arguments of `snapshot delete`.
#[derive(Args, Clone, Debug)]
pub struct DeleteSnapshotsArgs {
    /// Ids of snapshots, or parts of them
    #[arg(required = true, value_name = "SNAPSHOT", value_parser = NonEmptyStringValueParser::new())]
    pub snapshots: Vec<String>,
}

/// Arguments of `vm restore`.
#[derive(Args, Clone, Debug)]
pub struct RestoreArgs {
    /// The snapshot's id, or part of it
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub snapshot: String,
    /// Name the VM
    #[arg(long, short)]
    pub name: Option<VmName>,
    /// Lead a port of the host to one of the VM, instead of those that the
    /// snapshot's VM had: [[ADDRESS:]HOST:]GUEST[/tcp|udp] (can be repeated)
    #[arg(long, short, value_name = "PORT")]
    pub publish: Vec<PublishedPort>,
    /// Lead no port of the host to it
    #[arg(long, conflicts_with = "publish")]
    pub publish_none: bool,
    /// Label it KEY=VALUE, beside the labels of the snapshot's VM (can be repeated)
    #[arg(long = "label", short, value_parser = values::label, value_name = "KEY=VALUE")]
    pub labels: Vec<(String, String)>,
    /// Delete the VM as soon as it stops
    #[arg(long)]
    pub rm: bool,
    /// How long it may live.
    #[command(flatten)]
    pub lease: LeaseArgs,
}

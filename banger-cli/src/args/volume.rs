//! `banger volume …`.

use banger_core::domain::{Bytes, VolumeName};
use clap::{Args, Subcommand};

use super::values;

/// What can be done with volumes.
#[derive(Clone, Debug, Subcommand)]
pub enum VolumeCommand {
    /// Make an empty volume
    ///
    /// A VM has it with --volume NAME:/PATH. One VM at a time may write to it;
    /// several may have it with :ro. The disk takes as much room as is written.
    Create(CreateVolumeArgs),
    /// List volumes
    #[command(visible_alias = "ls")]
    List,
    /// Show one volume
    #[command(visible_alias = "inspect")]
    Show(ShowVolumeArgs),
    /// Delete volumes and all that is on them
    #[command(visible_alias = "rm")]
    Delete(DeleteVolumeArgs),
}

/// Arguments of `volume create`.
#[derive(Args, Clone, Debug)]
pub struct CreateVolumeArgs {
    /// Name the volume
    pub volume: VolumeName,
    /// How large it is
    #[arg(long, default_value = "1GiB", value_parser = values::disk, value_name = "SIZE")]
    pub size: Bytes,
}

/// Arguments of `volume show`.
#[derive(Args, Clone, Debug)]
pub struct ShowVolumeArgs {
    /// The volume's name
    pub volume: VolumeName,
}

/// Arguments of `volume delete`.
#[derive(Args, Clone, Debug)]
pub struct DeleteVolumeArgs {
    /// Names of volumes
    #[arg(required = true, value_name = "VOLUME")]
    pub volumes: Vec<VolumeName>,
}

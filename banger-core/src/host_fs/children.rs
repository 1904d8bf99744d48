//! What lies in a directory.

use camino::{Utf8Path, Utf8PathBuf};

use super::{IoContext as _, PathError};

/// What lies in a directory; nothing when there is none.
pub(crate) fn children(directory: &Utf8Path) -> Result<Vec<Utf8PathBuf>, PathError> {
    let entries = match directory.read_dir_utf8() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.at("read directory", directory)?,
    };
    entries
        .map(|entry| Ok(entry.at("read directory", directory)?.into_path()))
        .collect()
}

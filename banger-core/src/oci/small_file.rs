//! Files of the user that are read whole: credentials and certificates.

use std::{fs::File, io::Read as _};

use camino::{Utf8Path, Utf8PathBuf};

use super::AccessError;
use crate::task::off_thread;

/// Reads a file that may not be longer than `limit`.
pub(super) async fn read(path: Utf8PathBuf, limit: u64) -> Result<Vec<u8>, AccessError> {
    off_thread(move || {
        let bytes = read_bounded(&path, limit);
        let bytes = bytes.map_err(|source| AccessError::ReadFile {
            path: path.clone(),
            source,
        })?;
        if limit < bytes.len() as u64 {
            let problem = format!("it has more than {limit} bytes");
            return Err(AccessError::InvalidFile { path, problem });
        }
        Ok(bytes)
    })
    .await
}

/// At most one byte more than is allowed.
fn read_bounded(path: &Utf8Path, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    file.take(limit + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

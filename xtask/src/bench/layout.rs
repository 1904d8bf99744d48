//! Reading OCI layouts of one image: where its layers are.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{Result, paths::failed_at};

/// The blobs of the image's layers, lowest first.
pub(super) fn layers(layout: &Path) -> Result<Vec<PathBuf>> {
    let index = read_json(&layout.join("index.json"))?;
    let manifest = read_json(&blob(layout, &index["manifests"][0])?)?;
    let layers = manifest["layers"].as_array().into_iter().flatten();
    layers.map(|layer| blob(layout, layer)).collect()
}

/// Whether a blob is compressed by gzip (RFC 1952: it starts with 1f 8b).
pub(super) fn is_gzip(blob: &Path) -> Result<bool> {
    let mut magic = [0; 2];
    let mut file = File::open(blob).map_err(failed_at(blob))?;
    file.read_exact(&mut magic).map_err(failed_at(blob))?;
    Ok(magic == [0x1f, 0x8b])
}

/// A file with JSON in it.
pub(super) fn read_json(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).map_err(failed_at(path))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Where the blob of a descriptor is.
pub(super) fn blob(layout: &Path, descriptor: &Value) -> Result<PathBuf> {
    let digest = descriptor["digest"].as_str().unwrap_or_default();
    match digest.split_once(':') {
        Some((algorithm, digest)) => Ok(layout.join("blobs").join(algorithm).join(digest)),
        None => Err(format!("{}: a blob without a digest", layout.display())),
    }
}

#[cfg(test)]
mod checks {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_blob_is_found_by_its_digest() {
        let layout = Path::new("layout");
        let found = blob(layout, &json!({"digest": "sha256:12"}));
        assert_eq!(found, Ok("layout/blobs/sha256/12".into()));
        assert!(blob(layout, &json!({})).is_err());
    }
}

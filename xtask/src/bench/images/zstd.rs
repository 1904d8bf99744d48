//! A layout again with its layers in zstd instead of gzip.
//!
//! Invariant: the archives inside, and so the configuration with their
//! digests, stay the same.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::layout::{self, blob};
use crate::{
    Result,
    paths::failed_at,
    run::{command, run},
};

const MEDIA_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// Fills `to` with the image of the layout `from`.
pub(super) fn recompress(from: &Path, to: &Path) -> Result<()> {
    let blobs = to.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(failed_at(&blobs))?;
    let mut index = layout::read_json(&from.join("index.json"))?;
    let mut manifest = layout::read_json(&blob(from, &index["manifests"][0])?)?;
    link(&blob(from, &manifest["config"])?, &blobs)?;
    for layer in manifest["layers"].as_array_mut().into_iter().flatten() {
        let made = compress(&blob(from, layer)?, &blobs)?;
        describe(layer, &made, &blobs)?;
        layer["mediaType"] = MEDIA_TYPE.into();
    }
    let made = write_json(&blobs.join("new"), &manifest)?;
    describe(&mut index["manifests"][0], &made, &blobs)?;
    write_json(&to.join("index.json"), &index)?;
    link(&from.join("oci-layout"), to)
}

fn link(file: &Path, directory: &Path) -> Result<()> {
    let to = directory.join(file.file_name().unwrap_or_default());
    fs::hard_link(file, &to).map_err(failed_at(&to))
}

fn compress(layer: &Path, directory: &Path) -> Result<PathBuf> {
    const PIPE: &str = "gzip --decompress --stdout \"$0\" | zstd --quiet -T0 -o \"$1\"";
    let made = directory.join("new");
    run(command("sh", directory)
        .args(["-c", PIPE])
        .arg(layer)
        .arg(&made))?;
    Ok(made)
}

fn write_json(path: &Path, value: &Value) -> Result<PathBuf> {
    fs::write(path, value.to_string()).map_err(failed_at(path))?;
    Ok(path.to_owned())
}

/// Names a blob by its digest, and says so in its descriptor.
fn describe(descriptor: &mut Value, made: &Path, blobs: &Path) -> Result<()> {
    let content = fs::read(made).map_err(failed_at(made))?;
    let digest = hex::encode(Sha256::digest(&content));
    descriptor["digest"] = json!(format!("sha256:{digest}"));
    descriptor["size"] = json!(content.len());
    fs::rename(made, blobs.join(digest)).map_err(failed_at(made))
}

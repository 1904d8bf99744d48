//! OCI and docker archives of one layer (OCI image-spec, `image-layout.md`,
//! `manifest.md`, `config.md`; docker's image specification 1.2,
//! `manifest.json`).
//!
//! A layer's place in the archive depends on its digest, so that it is kept in
//! a file without a name until it is whole.

use std::{
    fs::File,
    io::{BufWriter, Read as _, Seek as _, Write},
};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    BUFFER, Measured, SaveError, SaveFormat, Saving, tar,
    tree::{Tree, TreeSummary},
};
use crate::{
    domain::{Digest, RunConfig},
    host_fs::{IoContext as _, nameless_file},
};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// The annotation that names an image in a layout (OCI image-spec,
/// `annotations.md`).
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The quickest: others gain little on programs, and make holes so small that
/// readers which bound the ratio take them for bombs.
const LEVEL: Compression = Compression::fast();

/// Writes the archive; answers its size, the image's digest and what the tree
/// had.
pub(super) fn write(
    saving: &Saving,
    tree: &Tree<'_>,
    output: &mut dyn Write,
) -> Result<(u64, Digest, TreeSummary), SaveError> {
    let (mut layer, summary) = spool(saving, tree)?;
    let created = tree.volume.created_unix().max(0);
    let config = config(saving, &layer, created).to_string().into_bytes();
    let mut archive = Archive {
        output: Measured::new(output),
        modified_unix: u64::try_from(created).unwrap_or(0),
        cancel: tree.cancel,
    };
    let digest = match saving.format {
        SaveFormat::DockerArchive => docker(saving, &mut archive, &mut layer, &config)?,
        _ => oci(saving, &mut archive, &mut layer, &config)?,
    };
    tar::end(&mut archive.output).map_err(SaveError::Output)?;
    let (size, _) = archive.output.finish();
    Ok((size, digest, summary))
}

/// A layer that is whole.
struct Layer {
    file: File,
    size: u64,
    digest: Digest,
    diff_id: Digest,
}

/// Bytes of the layer as the format stores them, counted and hashed.
type Stored<'a> = Measured<BufWriter<&'a File>>;

fn spool(saving: &Saving, tree: &Tree<'_>) -> Result<(Layer, TreeSummary), SaveError> {
    let scratch = saving.directories.blobs();
    let file = nameless_file(&scratch).map_err(|error| saving.io(error))?;
    let stored: Stored<'_> = Measured::new(BufWriter::with_capacity(BUFFER, &file));
    let written = if saving.format == SaveFormat::DockerArchive {
        plain(tree, stored)
    } else {
        compressed(tree, stored)
    };
    let (mut stored, diff_id, summary) = written.map_err(|error| match error {
        SaveError::Output(error) => {
            let context = Err::<(), _>(error).at("write a file in", &scratch);
            context.map_or_else(|error| saving.io(error), |()| SaveError::Cancelled)
        }
        other => other,
    })?;
    let flushed = stored.flush().at("write a file in", &scratch);
    flushed.map_err(|error| saving.io(error))?;
    let (size, digest) = stored.finish();
    let layer = Layer {
        file,
        size,
        digest,
        diff_id: diff_id.unwrap_or(digest),
    };
    Ok((layer, summary))
}

type Spooled<'a> = (Stored<'a>, Option<Digest>, TreeSummary);

fn plain<'a>(tree: &Tree<'_>, mut stored: Stored<'a>) -> Result<Spooled<'a>, SaveError> {
    let summary = tree.write(&mut stored)?;
    Ok((stored, None, summary))
}

fn compressed<'a>(tree: &Tree<'_>, stored: Stored<'a>) -> Result<Spooled<'a>, SaveError> {
    let mut inflated = Measured::new(GzEncoder::new(stored, LEVEL));
    let summary = tree.write(&mut inflated)?;
    let Measured { inner, hasher, .. } = inflated;
    let stored = inner.finish().map_err(SaveError::Output)?;
    let diff_id: [u8; 32] = sha2::Digest::finalize(hasher).into();
    Ok((stored, Some(Digest::from_bytes(diff_id)), summary))
}

fn config(saving: &Saving, layer: &Layer, created: i64) -> Value {
    let platform = &saving.platform;
    let created = jiff::Timestamp::from_second(created).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let mut config = json!({
        "created": created.to_string(),
        "architecture": platform.architecture,
        "os": platform.os,
        "config": run_config(&saving.image.run_config),
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id.to_string()]},
        "history": [{"created": created.to_string(), "created_by": "banger image save"}],
    });
    if let Some(variant) = &platform.variant {
        config["variant"] = json!(variant);
    }
    config
}

/// What is empty is left out, as builders do.
fn run_config(run: &RunConfig) -> Value {
    let fields = [
        (
            "Entrypoint",
            json!(run.entrypoint),
            run.entrypoint.is_empty(),
        ),
        ("Cmd", json!(run.cmd), run.cmd.is_empty()),
        ("Env", json!(run.env), run.env.is_empty()),
        ("User", json!(run.user), run.user.is_empty()),
        (
            "WorkingDir",
            json!(run.working_directory),
            run.working_directory.is_empty(),
        ),
        (
            "StopSignal",
            json!(run.stop_signal),
            run.stop_signal.is_empty(),
        ),
        ("Labels", json!(run.labels), run.labels.is_empty()),
    ];
    let given = fields.into_iter().filter(|(_, _, is_empty)| !is_empty);
    given
        .map(|(name, value, _)| (name.to_owned(), value))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn docker(
    saving: &Saving,
    archive: &mut Archive<'_>,
    layer: &mut Layer,
    config: &[u8],
) -> Result<Digest, SaveError> {
    let digest = Digest::of(config);
    let config_name = format!("{}.json", digest.to_hex());
    let layer_name = format!("{}.tar", layer.diff_id.to_hex());
    let manifest = json!([{
        "Config": config_name,
        "RepoTags": [tag(saving)],
        "Layers": [layer_name],
    }]);
    archive.add("manifest.json", manifest.to_string().as_bytes())?;
    archive.add(&config_name, config)?;
    archive.add_layer(saving, &layer_name, layer)?;
    Ok(digest)
}

fn oci(
    saving: &Saving,
    archive: &mut Archive<'_>,
    layer: &mut Layer,
    config: &[u8],
) -> Result<Digest, SaveError> {
    let describe = |media_type: &str, digest: Digest, size: u64| json!({"mediaType": media_type, "digest": digest.to_string(), "size": size});
    let config_digest = Digest::of(config);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": describe(CONFIG, config_digest, config.len() as u64),
        "layers": [describe(LAYER, layer.digest, layer.size)],
    });
    let manifest = manifest.to_string().into_bytes();
    let digest = Digest::of(&manifest);
    let mut entry = describe(MANIFEST, digest, manifest.len() as u64);
    entry["annotations"] = json!({ REF_NAME: tag(saving) });
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
    archive.add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    archive.add("index.json", index.to_string().as_bytes())?;
    archive.add(&blob(&digest), &manifest)?;
    archive.add(&blob(&config_digest), config)?;
    let name = blob(&layer.digest);
    archive.add_layer(saving, &name, layer)?;
    Ok(digest)
}

fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.to_hex())
}

/// The name under which others load the image.
fn tag(saving: &Saving) -> String {
    format!("{}:latest", saving.image.name)
}

/// The outer tar file.
struct Archive<'a> {
    output: Measured<&'a mut dyn Write>,
    modified_unix: u64,
    cancel: &'a CancellationToken,
}

impl Archive<'_> {
    fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), SaveError> {
        self.begin(name, bytes.len() as u64)?;
        let written = self.output.write_all(bytes);
        written.map_err(SaveError::Output)?;
        tar::pad(&mut self.output, bytes.len() as u64).map_err(SaveError::Output)
    }

    fn begin(&mut self, name: &str, size: u64) -> Result<(), SaveError> {
        let headers = tar::plain_headers(name, size, self.modified_unix);
        let written = headers.and_then(|headers| self.output.write_all(&headers));
        written.map_err(SaveError::Output)
    }

    fn add_layer(
        &mut self,
        saving: &Saving,
        name: &str,
        layer: &mut Layer,
    ) -> Result<(), SaveError> {
        let scratch = saving.directories.blobs();
        let failed = |error| saving.io(error);
        self.begin(name, layer.size)?;
        let rewound = layer.file.rewind().at("read a file in", &scratch);
        rewound.map_err(failed)?;
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = layer.file.read(&mut buffer).at("read a file in", &scratch);
            let length = read.map_err(failed)?;
            if self.cancel.is_cancelled() {
                return Err(SaveError::Cancelled);
            }
            if length == 0 {
                return tar::pad(&mut self.output, layer.size).map_err(SaveError::Output);
            }
            let written = self.output.write_all(&buffer[..length]);
            written.map_err(SaveError::Output)?;
        }
    }
}

//! `manifest.json`: what a kernel's directory holds, for whoever finds the
//! directory without the database.

use std::time::UNIX_EPOCH;

use camino::Utf8Path;
use serde::Serialize;

use crate::{
    domain::{Kernel, KernelOrigin},
    host_fs::{PathError, write_atomically},
};

/// Raised with every change that a reader must know of.
const FORMAT: u32 = 1;

#[derive(Serialize)]
struct Manifest<'a> {
    format: u32,
    name: &'a str,
    distribution: Option<&'a str>,
    architecture: &'a str,
    version: &'a str,
    /// Digest of the `vmlinux`.
    sha256: String,
    source: String,
    /// Seconds since 1970.
    imported: u64,
    files: Files,
}

/// Names within the directory.
#[derive(Serialize)]
struct Files {
    vmlinux: Option<String>,
    initrd: Option<String>,
    modules: Option<String>,
}

/// Writes the manifest of `kernel` into the directory its files are in now.
pub(crate) fn write(kernel: &Kernel, directory: &Utf8Path) -> Result<(), PathError> {
    let path = directory.join("manifest.json");
    let imported = kernel.imported.duration_since(UNIX_EPOCH);
    let name = |path: &Utf8Path| path.file_name().map(str::to_owned);
    let manifest = Manifest {
        format: FORMAT,
        name: kernel.name.as_str(),
        distribution: kernel.distribution.as_deref(),
        architecture: &kernel.architecture,
        version: &kernel.version,
        sha256: kernel.sha256.to_hex(),
        source: describe(&kernel.origin),
        imported: imported.map_or(0, |since| since.as_secs()),
        files: Files {
            vmlinux: name(&kernel.boot.kernel),
            initrd: kernel.boot.initrd.as_deref().and_then(name),
            modules: kernel.boot.modules.as_deref().and_then(name),
        },
    };
    let text = serde_json::to_vec_pretty(&manifest)
        .map_err(|error| PathError::new("write", &path, std::io::Error::other(error)))?;
    write_atomically(&path, &text)
}

fn describe(origin: &KernelOrigin) -> String {
    match origin {
        KernelOrigin::Directory(path) => format!("dir:{path}"),
        KernelOrigin::DebFile(path) => format!("deb:{path}"),
        KernelOrigin::AptPackage(package) => format!("apt:{package}"),
        KernelOrigin::File(path) => path.to_string(),
        KernelOrigin::Bundle(reference) => reference.to_string(),
    }
}

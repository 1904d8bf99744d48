//! Kernels.

use banger_core::domain::{Kernel, KernelOrigin};
use serde::Serialize;

use super::{BootOutput, VerdictOutput, details, table, time, timestamp, verdict_text};

/// A kernel, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KernelOutput {
    name: String,
    distribution: Option<String>,
    architecture: String,
    version: String,
    sha256: String,
    origin: OriginOutput,
    directory: String,
    boot: BootOutput,
    policy: Option<VerdictOutput>,
    imported: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct OriginOutput {
    kind: &'static str,
    location: Option<String>,
}

impl From<&Kernel> for KernelOutput {
    fn from(kernel: &Kernel) -> Self {
        let (kind, location) = origin(&kernel.origin);
        Self {
            name: kernel.name.to_string(),
            distribution: kernel.distribution.clone(),
            architecture: kernel.architecture.clone(),
            version: kernel.version.clone(),
            sha256: kernel.sha256.to_hex(),
            origin: OriginOutput { kind, location },
            directory: kernel.directory.to_string(),
            boot: BootOutput::from(&kernel.boot),
            policy: kernel.verdict.as_ref().map(VerdictOutput::from),
            imported: timestamp(kernel.imported),
        }
    }
}

fn origin(origin: &KernelOrigin) -> (&'static str, Option<String>) {
    match origin {
        KernelOrigin::Directory(path) => ("dir", Some(path.to_string())),
        KernelOrigin::DebFile(path) => ("deb", Some(path.to_string())),
        KernelOrigin::AptPackage(package) => ("apt", Some(package.clone())),
        KernelOrigin::File(path) => ("file", Some(path.to_string())),
        KernelOrigin::Bundle(reference) => ("bundle", Some(reference.to_string())),
        _ => ("other", None),
    }
}

fn origin_text(kernel: &Kernel) -> String {
    match origin(&kernel.origin) {
        (kind, Some(location)) => format!("{kind}:{location}"),
        (kind, None) => kind.to_owned(),
    }
}

/// Kernels for people.
#[must_use]
pub fn kernel_table(kernels: &[Kernel]) -> String {
    let row = |kernel: &Kernel| {
        vec![
            kernel.name.to_string(),
            kernel.version.clone(),
            kernel.architecture.clone(),
            time(kernel.imported),
            origin_text(kernel),
        ]
    };
    let head = ["NAME", "VERSION", "ARCH", "IMPORTED", "ORIGIN"];
    table(&head, &kernels.iter().map(row).collect::<Vec<_>>())
}

/// One kernel for people.
#[must_use]
pub fn kernel_details(kernel: &Kernel) -> String {
    let optional = |path: Option<&camino::Utf8PathBuf>| {
        path.map_or_else(|| "none".to_owned(), ToString::to_string)
    };
    let distribution = kernel.distribution.clone();
    details(&[
        ("name", kernel.name.to_string()),
        ("version", kernel.version.clone()),
        ("architecture", kernel.architecture.clone()),
        (
            "distribution",
            distribution.unwrap_or_else(|| "unknown".to_owned()),
        ),
        ("sha256", kernel.sha256.to_hex()),
        ("origin", origin_text(kernel)),
        ("policy", verdict_text(kernel.verdict.as_ref())),
        ("vmlinux", kernel.boot.kernel.to_string()),
        ("initrd", optional(kernel.boot.initrd.as_ref())),
        ("modules", optional(kernel.boot.modules.as_ref())),
        ("imported", time(kernel.imported)),
    ])
}

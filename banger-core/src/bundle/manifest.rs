//! `manifest.json`: what a bundle holds.
//!
//! Pure: from bytes to checked values and back. What a manifest lists is
//! checked here once, so that the reader only compares with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{Bytes, Digest, ImageName, KernelName, RunConfig},
    kernel::module_tree::TreePath,
};

/// Name of the manifest's own entry.
pub(super) const MANIFEST: &str = "manifest.json";
/// Raised with every change that a reader must know of.
const FORMAT: u32 = 1;
/// Most bytes of a manifest: room for every file of a module tree.
pub(super) const MAX_MANIFEST: u64 = 32 * Bytes::MIB;
/// Most files of a bundle; distributions' largest module trees have 10 000.
const MAX_FILES: usize = 100_000;
const MAX_TEXT: usize = 4096;

/// What a bundle holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// An image or a kernel.
    pub content: Content,
    /// Architecture of the kernel and of the programs on the disk, as
    /// `uname -m` says it.
    pub architecture: String,
    /// The files, in the bundle's order.
    pub files: Vec<ManifestFile>,
}

/// What a bundle is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// A root disk, perhaps with its kernel.
    Image {
        /// The name it was kept under.
        name: ImageName,
        /// What it runs.
        run_config: RunConfig,
        /// sha256 (hex) of the packages a built image was made with.
        package_hash: Option<String>,
    },
    /// A kernel.
    Kernel(KernelFacts),
}

/// What is known of a kernel besides its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelFacts {
    /// The name it was kept under.
    pub name: KernelName,
    /// Its release (`uname -r`).
    pub version: String,
    /// Distribution it comes from, if known.
    pub distribution: Option<String>,
}

/// One file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestFile {
    /// Its path.
    pub path: BundlePath,
    /// Its length.
    pub size: u64,
    /// Its digest.
    pub sha256: Digest,
}

/// A path that a bundle's file may have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum BundlePath {
    /// `rootfs.ext4`.
    Rootfs,
    /// `vmlinux`.
    Kernel,
    /// `initrd.img`.
    Initrd,
    /// `modules/…`: the path below, of plain names.
    Module(Utf8PathBuf),
}

impl BundlePath {
    /// The path of a file of a module tree, below the tree.
    #[must_use]
    pub fn module(below: &Utf8Path) -> Option<Self> {
        let components: Vec<&str> = below.as_str().split('/').collect();
        TreePath::of(&components).ok()?;
        Some(Self::Module(below.to_owned()))
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "rootfs.ext4" => Some(Self::Rootfs),
            "vmlinux" => Some(Self::Kernel),
            "initrd.img" => Some(Self::Initrd),
            _ => Self::module(Utf8Path::new(text.strip_prefix("modules/")?)),
        }
    }
}

impl fmt::Display for BundlePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rootfs => f.write_str("rootfs.ext4"),
            Self::Kernel => f.write_str("vmlinux"),
            Self::Initrd => f.write_str("initrd.img"),
            Self::Module(below) => write!(f, "modules/{below}"),
        }
    }
}

/// The document as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    kind: Kind,
    name: String,
    architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    distribution: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run_config: Option<RunConfigDocument>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    packages_sha256: Option<String>,
    files: Vec<FileDocument>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Image,
    Kernel,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunConfigDocument {
    entrypoint: Vec<String>,
    cmd: Vec<String>,
    env: Vec<String>,
    user: String,
    working_directory: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    stop_signal: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileDocument {
    path: String,
    size: u64,
    sha256: String,
}

impl Manifest {
    /// The file of that path.
    #[must_use]
    pub fn file(&self, path: &BundlePath) -> Option<&ManifestFile> {
        self.files.iter().find(|file| file.path == *path)
    }

    /// Whether it has files of a module tree.
    #[must_use]
    pub fn has_modules(&self) -> bool {
        let is_module = |file: &ManifestFile| matches!(file.path, BundlePath::Module(_));
        self.files.iter().any(is_module)
    }

    /// Bytes of all files.
    #[must_use]
    pub fn unpacked(&self) -> Bytes {
        let sizes = self.files.iter().map(|file| file.size);
        Bytes::new(sizes.fold(0, u64::saturating_add))
    }

    /// The document's bytes: the same for the same manifest.
    pub(super) fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec_pretty(&Document::from(self))
    }

    /// Reads a document.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let document: Document = serde_json::from_slice(bytes)
            .map_err(|error| format!("its manifest is not valid: {error}"))?;
        if document.format != FORMAT {
            let format = document.format;
            return Err(format!("its manifest has format {format}, not {FORMAT}"));
        }
        let files = files(&document.files)?;
        let architecture = text(&document.architecture)?;
        let content = content(document)?;
        check_files(&content, &files)?;
        Ok(Self {
            content,
            architecture,
            files,
        })
    }
}

fn content(document: Document) -> Result<Content, String> {
    let name = document.name;
    match (document.kind, document.run_config, document.version) {
        (Kind::Image, Some(config), None) => Ok(Content::Image {
            name: name
                .parse()
                .map_err(|error| format!("in its manifest, {error}"))?,
            run_config: config.into(),
            package_hash: document
                .packages_sha256
                .as_deref()
                .map(package_hash)
                .transpose()?,
        }),
        (Kind::Kernel, None, Some(version)) => Ok(Content::Kernel(KernelFacts {
            name: name
                .parse()
                .map_err(|error| format!("in its manifest, {error}"))?,
            version: text(&version)?,
            distribution: document.distribution.as_deref().map(text).transpose()?,
        })),
        _ => Err("its manifest is that of neither an image nor a kernel".to_owned()),
    }
}

fn package_hash(text: &str) -> Result<String, String> {
    let digest: Result<Digest, _> = format!("sha256:{text}").parse();
    digest
        .map(|digest| digest.to_hex())
        .map_err(|error| error.to_string())
}

/// A short text that can be shown on one line.
fn text(text: &str) -> Result<String, String> {
    if text.is_empty() || MAX_TEXT < text.len() || text.contains(char::is_control) {
        return Err("its manifest has an empty, long or unprintable text".to_owned());
    }
    Ok(text.to_owned())
}

fn files(documents: &[FileDocument]) -> Result<Vec<ManifestFile>, String> {
    if MAX_FILES < documents.len() {
        return Err(format!("its manifest lists more than {MAX_FILES} files"));
    }
    let mut seen = BTreeSet::new();
    let mut files = Vec::with_capacity(documents.len());
    for document in documents {
        let path = BundlePath::parse(&document.path)
            .ok_or_else(|| format!("its manifest lists {:?}", document.path))?;
        if !seen.insert(path.clone()) {
            return Err(format!("its manifest lists {path} twice"));
        }
        let sha256: Result<Digest, _> = format!("sha256:{}", document.sha256).parse();
        files.push(ManifestFile {
            path,
            size: document.size,
            sha256: sha256.map_err(|error| format!("in its manifest, {error}"))?,
        });
    }
    Ok(files)
}

/// An image has a disk; a kernel, which an image may lack, has a `vmlinux`.
fn check_files(content: &Content, files: &[ManifestFile]) -> Result<(), String> {
    let has = |path: BundlePath| files.iter().any(|file| file.path == path);
    let has_kernel = has(BundlePath::Kernel);
    let is_image = matches!(content, Content::Image { .. });
    let fits = has(BundlePath::Rootfs) == is_image;
    let only_disk = files.len() == 1;
    if fits && (has_kernel || (is_image && only_disk)) {
        return Ok(());
    }
    Err("its manifest lists other files than an image or a kernel has".to_owned())
}

impl From<RunConfigDocument> for RunConfig {
    fn from(document: RunConfigDocument) -> Self {
        Self {
            entrypoint: document.entrypoint,
            cmd: document.cmd,
            env: document.env,
            user: document.user,
            working_directory: document.working_directory,
            stop_signal: document.stop_signal,
            labels: document.labels,
        }
    }
}

impl From<&RunConfig> for RunConfigDocument {
    fn from(config: &RunConfig) -> Self {
        Self {
            entrypoint: config.entrypoint.clone(),
            cmd: config.cmd.clone(),
            env: config.env.clone(),
            user: config.user.clone(),
            working_directory: config.working_directory.clone(),
            stop_signal: config.stop_signal.clone(),
            labels: config.labels.clone(),
        }
    }
}

impl From<&Manifest> for Document {
    fn from(manifest: &Manifest) -> Self {
        let file = |file: &ManifestFile| FileDocument {
            path: file.path.to_string(),
            size: file.size,
            sha256: file.sha256.to_hex(),
        };
        let mut document = Self {
            format: FORMAT,
            kind: Kind::Image,
            name: String::new(),
            architecture: manifest.architecture.clone(),
            version: None,
            distribution: None,
            run_config: None,
            packages_sha256: None,
            files: manifest.files.iter().map(file).collect(),
        };
        match &manifest.content {
            Content::Image {
                name,
                run_config,
                package_hash,
            } => {
                document.name = name.to_string();
                document.run_config = Some(run_config.into());
                document.packages_sha256.clone_from(package_hash);
            }
            Content::Kernel(facts) => {
                document.kind = Kind::Kernel;
                document.name = facts.name.to_string();
                document.version = Some(facts.version.clone());
                document.distribution.clone_from(&facts.distribution);
            }
        }
        document
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: BundlePath) -> ManifestFile {
        ManifestFile {
            sha256: Digest::of(b"x"),
            size: 1,
            path,
        }
    }

    fn kernel(files: Vec<ManifestFile>) -> Manifest {
        Manifest {
            content: Content::Kernel(KernelFacts {
                name: "linux-6.1".parse().unwrap(),
                version: "6.1.0".into(),
                distribution: Some("debian".into()),
            }),
            architecture: "x86_64".into(),
            files,
        }
    }

    fn image(files: Vec<ManifestFile>) -> Manifest {
        Manifest {
            content: Content::Image {
                name: "golden".parse().unwrap(),
                run_config: RunConfig {
                    cmd: vec!["/bin/sh".into()],
                    ..RunConfig::default()
                },
                package_hash: Some(Digest::of(b"p").to_hex()),
            },
            architecture: "x86_64".into(),
            files,
        }
    }

    #[test]
    fn manifests_round_trip() {
        let module = BundlePath::module(Utf8Path::new("kernel/a.ko")).unwrap();
        let boot = [BundlePath::Kernel, BundlePath::Initrd, module].map(file);
        let whole = [vec![file(BundlePath::Rootfs)], boot.to_vec()].concat();
        for manifest in [
            kernel(boot.to_vec()),
            image(whole),
            image(vec![file(BundlePath::Rootfs)]),
        ] {
            let bytes = manifest.to_bytes().unwrap();
            assert_eq!(Manifest::parse(&bytes).unwrap(), manifest);
        }
    }

    #[test]
    fn what_is_no_image_and_no_kernel_is_refused() {
        let disk = || file(BundlePath::Rootfs);
        let vmlinux = || file(BundlePath::Kernel);
        for manifest in [
            kernel(vec![]),
            kernel(vec![disk(), vmlinux()]),
            image(vec![vmlinux()]),
            image(vec![disk(), file(BundlePath::Initrd)]),
            kernel(vec![vmlinux(), vmlinux()]),
        ] {
            let bytes = manifest.to_bytes().unwrap();
            assert!(Manifest::parse(&bytes).is_err(), "{manifest:?}");
        }
        let text = String::from_utf8(kernel(vec![vmlinux()]).to_bytes().unwrap()).unwrap();
        for (from, to) in [
            ("\"format\": 1", "\"format\": 2"),
            ("vmlinux", "modules/../vmlinux"),
            ("vmlinux", "/etc/passwd"),
            ("linux-6.1", "../linux"),
            ("debian", "\\u001b[2J"),
            ("\"version\"", "\"versions\""),
        ] {
            assert!(text.contains(from), "{from}");
            let bytes = text.replace(from, to);
            assert!(Manifest::parse(bytes.as_bytes()).is_err(), "{to}");
        }
    }
}

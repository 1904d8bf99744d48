//! Image records.

use std::time::SystemTime;

use camino::Utf8PathBuf;

use super::{Bytes, Digest, ImageId, ImageName, KernelName, Verdict};

/// A bootable image: a root disk and the kernel triple it boots with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Id, never reused.
    pub id: ImageId,
    /// Unique name.
    pub name: ImageName,
    /// Where all artifacts lie when banger owns them; none for an image whose
    /// files belong to the user, which banger never changes or deletes.
    pub artifact_directory: Option<Utf8PathBuf>,
    /// The ext4 root disk.
    pub rootfs: Utf8PathBuf,
    /// The kernel triple, with absolute paths.
    pub boot: BootArtifacts,
    /// The kernel reference the user gave, if any.
    pub kernel: Option<KernelName>,
    /// Where the image came from.
    pub origin: ImageOrigin,
    /// What the image runs when nothing else is asked for.
    pub run_config: RunConfig,
    /// Sizes of the root disk.
    pub sizes: ImageSizes,
    /// sha256 (hex) of the packages a built image was made with.
    pub package_hash: Option<String>,
    /// What a policy decided when it was let in; none when none was asked.
    pub verdict: Option<Verdict>,
    /// When the record was made.
    pub created: SystemTime,
    /// When the record last changed.
    pub updated: SystemTime,
}

impl Image {
    /// Whether banger owns every artifact.
    #[must_use]
    pub const fn is_managed(&self) -> bool {
        self.artifact_directory.is_some()
    }
}

/// A kernel, its optional initrd and its optional module tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootArtifacts {
    /// The uncompressed ELF kernel.
    pub kernel: Utf8PathBuf,
    /// An initrd of the image's own.
    pub initrd: Option<Utf8PathBuf>,
    /// A directory laid out as `/lib/modules/<release>`.
    pub modules: Option<Utf8PathBuf>,
}

/// Where an image came from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageOrigin {
    /// Registered from files of the user.
    Registered,
    /// An OCI image.
    Oci {
        /// The reference as given, made canonical.
        reference: String,
        /// Digest of the manifest that was used.
        manifest: Digest,
    },
    /// A bundle.
    Bundle {
        /// Where it was, and its digest.
        reference: String,
        /// Digest of the whole bundle.
        sha256: Digest,
    },
}

/// The parts of an OCI image configuration that say what to run (OCI
/// image-spec, `config.md`, "config").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunConfig {
    /// The fixed start of the command.
    pub entrypoint: Vec<String>,
    /// Default arguments.
    pub cmd: Vec<String>,
    /// Environment, each `KEY=VALUE`.
    pub env: Vec<String>,
    /// `user[:group]`, empty for root.
    pub user: String,
    /// Working directory, empty for `/`.
    pub working_directory: String,
}

/// Sizes of a root disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageSizes {
    /// The size a guest sees.
    pub apparent: Bytes,
    /// What the file takes on the host's disk.
    pub on_disk: Bytes,
}

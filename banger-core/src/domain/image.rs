//! Image records.

use std::{collections::BTreeMap, time::SystemTime};

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
    /// How the root disk was made.
    pub disk: DiskProvenance,
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
    /// Copied from files of the user, which were registered before.
    Promoted,
    /// An OCI image.
    Oci {
        /// The reference as given, made canonical.
        reference: String,
        /// Digest of the manifest that was used.
        manifest: Digest,
    },
    /// Built in a VM from another image.
    Built {
        /// The image it was built from.
        base: ImageId,
        /// That image's name at the time.
        base_name: ImageName,
        /// Digest of all that was put into it: script, files and commands.
        input: Digest,
    },
    /// Built from a Containerfile by a builder of the host.
    Containerfile {
        /// The file.
        path: Utf8PathBuf,
        /// Digest of the manifest that the builder made.
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
    /// The signal that asks it to stop, as its maker wrote it; empty for
    /// SIGTERM.
    pub stop_signal: String,
    /// What its maker says of it.
    pub labels: BTreeMap<String, String>,
}

/// Sizes of a root disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageSizes {
    /// The size a guest sees.
    pub apparent: Bytes,
    /// What the file takes on the host's disk.
    pub on_disk: Bytes,
}

/// How a managed image's root disk was made; nothing is known of files of the
/// user, and of disks that older versions made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskProvenance {
    /// How its bytes came into its file.
    pub method: Option<DiskMethod>,
    /// What the bytes depend on besides the manifest: two disks of the same
    /// manifest and recipe are the same, byte for byte.
    pub recipe: Option<String>,
    /// The blobs it was made of, which a prune of the cache keeps.
    pub layers: Vec<Digest>,
}

/// How the bytes of a disk came into its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskMethod {
    /// Written from layers.
    Written,
    /// The file system shares the blocks of another file.
    Reflink,
    /// Copied from another file, holes kept.
    Copied,
}

impl DiskMethod {
    /// Every method.
    pub const ALL: [Self; 3] = [Self::Written, Self::Reflink, Self::Copied];

    /// The method's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Reflink => "reflink",
            Self::Copied => "copied",
        }
    }
}

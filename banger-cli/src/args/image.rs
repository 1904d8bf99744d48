//! `banger image …`.

use std::time::Duration;

use banger_core::domain::{Bytes, ImageName, KernelName};
use camino::Utf8PathBuf;
use clap::{Args, Subcommand, ValueEnum, builder::NonEmptyStringValueParser};

use super::RegistryArgs;

/// What can be done with images.
#[derive(Clone, Debug, Subcommand)]
pub enum ImageCommand {
    /// Pull an OCI image and make a bootable image of it
    Pull(PullArgs),
    /// Make an image of a root disk and a kernel of your own
    ///
    /// The files are used where they are, and never changed or deleted. They
    /// are to stay as they are as long as a VM uses the image.
    Register(RegisterArgs),
    /// Copy the files of a registered image, so that banger owns them
    ///
    /// The image keeps its name and id. The files it was registered with stay
    /// as they are.
    Promote(PromoteArgs),
    /// Save an image as an archive that other tools load
    ///
    /// The archive has the tree of the image's disk as one layer, and, unless
    /// it is a bare tree, what the image runs. The same image makes the same
    /// bytes.
    #[command(visible_alias = "export")]
    Save(SaveArgs),
    /// List images
    List,
    /// Show one image
    #[command(visible_alias = "inspect")]
    Show(ShowImageArgs),
    /// List what is on an image's disk; without an image, list the images
    Ls(ListContentArgs),
    /// Write a file of an image's disk to standard output
    Cat(CatArgs),
    /// Compare the disks of two images
    ///
    /// Prints `A`, `D` or `C` (added, deleted, changed) with each path that
    /// differs. The exit status is 1 when something differs.
    Diff(DiffArgs),
    /// Remove downloaded blobs that no image was made of
    ///
    /// Images do not need them: what is gone is downloaded again when it is
    /// needed. What a pull needs meanwhile stays.
    Prune(PruneArgs),
    /// Delete images that no VM uses
    #[command(visible_alias = "rm")]
    Delete(DeleteImageArgs),
}

/// Arguments of `image pull`.
#[derive(Args, Clone, Debug)]
pub struct PullArgs {
    /// Where the image is: HOST/PATH[:TAG][@DIGEST], oci:DIR[:TAG],
    /// oci-archive:FILE[:TAG], docker-archive:FILE[:NAME[:TAG]] or
    /// rootfs-tar:FILE
    ///
    /// docker-archive:FILE:@0 is the first image of the archive. rootfs-tar:-
    /// reads a tar stream from standard input. Tar files may be compressed
    /// with gzip or zstd.
    pub reference: String,
    /// Keep it under this name instead of one made from the reference
    #[arg(long, short)]
    pub name: Option<ImageName>,
    /// Which kernel it boots with.
    #[command(flatten)]
    pub kernel: KernelArgs,
    /// Make the disk this large (4G, 512MiB; a bare number is MiB)
    ///
    /// By default a quarter more than the content, and at least 1 GiB.
    #[arg(long, value_name = "SIZE")]
    pub size: Option<Bytes>,
    /// How its registry is signed in to.
    #[command(flatten)]
    pub registry: RegistryArgs,
}

/// Arguments of `image register`.
#[derive(Args, Clone, Debug)]
pub struct RegisterArgs {
    /// Keep it under this name
    pub name: ImageName,
    /// A file that holds an ext4 file system
    #[arg(long, value_name = "FILE")]
    pub rootfs: Utf8PathBuf,
    /// Which kernel it boots with.
    #[command(flatten)]
    pub kernel: KernelArgs,
}

/// Arguments of `image promote`.
#[derive(Args, Clone, Debug)]
pub struct PromoteArgs {
    /// Name, id, or part of an id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub image: String,
}

/// Arguments of `image save`.
#[derive(Args, Clone, Debug)]
pub struct SaveArgs {
    /// Name, id, or part of an id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub image: String,
    /// Write to this file, which must not exist; - is standard output
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    pub output: Utf8PathBuf,
    /// The form of the archive; rootfs-tar is the tree alone
    #[arg(long, value_enum, default_value_t = SaveFormatArg::OciArchive)]
    pub format: SaveFormatArg,
}

/// The form of a saved image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SaveFormatArg {
    /// What skopeo, podman and others load
    OciArchive,
    /// What `docker load` takes
    DockerArchive,
    /// A tar file of the tree
    RootfsTar,
}

/// Which kernel an image boots with.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelArgs {
    /// Boot it with this imported kernel
    ///
    /// When no kernel is chosen and exactly one is imported, that one is used.
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with_all = ["kernel_path", "initrd_path", "modules_path"],
        help_heading = "Kernel"
    )]
    pub kernel: Option<KernelName>,
    /// Boot it with this kernel file
    #[arg(long, value_name = "FILE", help_heading = "Kernel")]
    pub kernel_path: Option<Utf8PathBuf>,
    /// Give it this initrd
    #[arg(
        long,
        value_name = "FILE",
        requires = "kernel_path",
        help_heading = "Kernel"
    )]
    pub initrd_path: Option<Utf8PathBuf>,
    /// Give it this module tree, laid out as /lib/modules/RELEASE
    #[arg(
        long,
        value_name = "DIR",
        requires = "kernel_path",
        help_heading = "Kernel"
    )]
    pub modules_path: Option<Utf8PathBuf>,
}

/// Arguments of `image show`.
#[derive(Args, Clone, Debug)]
pub struct ShowImageArgs {
    /// Name, id, or part of an id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub image: String,
}

/// Arguments of `image ls`.
#[derive(Args, Clone, Debug)]
pub struct ListContentArgs {
    /// Name, id, or part of an id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub image: Option<String>,
    /// A path on its disk
    #[arg(default_value = "/")]
    pub path: String,
    /// List all that is below it too
    #[arg(long, short = 'R')]
    pub recursive: bool,
}

/// Arguments of `image cat`.
#[derive(Args, Clone, Debug)]
pub struct CatArgs {
    /// Name, id, or part of an id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub image: String,
    /// A file on its disk; symbolic links are followed
    pub path: String,
}

/// Arguments of `image diff`.
#[derive(Args, Clone, Debug)]
pub struct DiffArgs {
    /// Name, id, or part of an id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub one: String,
    /// What it is compared with
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub other: String,
}

/// Arguments of `image prune`.
#[derive(Args, Clone, Debug)]
pub struct PruneArgs {
    /// Say what would go, and remove nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Remove those that images were made of, too
    #[arg(long, short)]
    pub all: bool,
    /// Remove only what was downloaded longer ago (7d, 12h)
    #[arg(long, value_name = "TIME", value_parser = super::values::age)]
    pub older_than: Option<Duration>,
    /// Remove only as much as makes the cache this small, the oldest first
    /// (4G, 512MiB; a bare number is MiB)
    #[arg(long, value_name = "SIZE")]
    pub max_size: Option<Bytes>,
}

/// Arguments of `image delete`.
#[derive(Args, Clone, Debug)]
pub struct DeleteImageArgs {
    /// Names, ids, or parts of ids
    #[arg(required = true, value_name = "IMAGE", value_parser = NonEmptyStringValueParser::new())]
    pub images: Vec<String>,
}

//! `banger image …`.

use banger_core::domain::{Bytes, ImageName, KernelName};
use camino::Utf8PathBuf;
use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};

use super::RegistryArgs;

/// What can be done with images.
#[derive(Clone, Debug, Subcommand)]
pub enum ImageCommand {
    /// Pull an OCI image or a bundle and make a bootable image of it
    Pull(PullArgs),
    /// Make an image of a root disk and a kernel of your own
    ///
    /// The files are used where they are, and never changed or deleted. They
    /// are to stay as they are as long as a VM uses the image.
    Register(RegisterArgs),
    /// Write an image into one file, of which `image pull file:FILE` makes it again
    ///
    /// The file is a zstd-compressed tar file with the disk, the kernel and a
    /// manifest with the sha256 of each. The same image gives the same bytes.
    Bundle(BundleImageArgs),
    /// List images
    List(ListImagesArgs),
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
    /// Delete images that no VM uses
    #[command(visible_alias = "rm")]
    Delete(DeleteImageArgs),
}

/// Arguments of `image pull`.
#[derive(Args, Clone, Debug)]
pub struct PullArgs {
    /// Where the image is: HOST/PATH[:TAG][@DIGEST], oci:DIR[:TAG],
    /// oci-archive:FILE[:TAG], docker-archive:FILE[:NAME[:TAG]],
    /// rootfs-tar:FILE, a bundle file:FILE[@sha256:HEX] or
    /// https://HOST/FILE@sha256:HEX, or a name that a catalog has
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

/// Arguments of `image bundle`.
#[derive(Args, Clone, Debug)]
pub struct BundleImageArgs {
    /// Name, id, or part of an id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub image: String,
    /// Write it to this file, which must not exist
    #[arg(long, short, value_name = "FILE")]
    pub output: Utf8PathBuf,
    /// Leave the kernel out: whoever pulls the bundle chooses one
    #[arg(long)]
    pub without_kernel: bool,
}

/// Arguments of `image list`.
#[derive(Args, Clone, Debug)]
pub struct ListImagesArgs {
    /// List what the catalogs offer instead
    #[arg(long)]
    pub available: bool,
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

/// Which kernel an image boots with.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelArgs {
    /// Boot it with this kernel, imported or from a catalog
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

/// Arguments of `image delete`.
#[derive(Args, Clone, Debug)]
pub struct DeleteImageArgs {
    /// Names, ids, or parts of ids
    #[arg(required = true, value_name = "IMAGE", value_parser = NonEmptyStringValueParser::new())]
    pub images: Vec<String>,
}

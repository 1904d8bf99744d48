//! `banger image …`.

use std::time::Duration;

use banger_core::{
    domain::{BackendKind, Bytes, ImageName, KernelName, NetworkMode},
    image::build::ContainerBuilder,
};
use camino::Utf8PathBuf;
use clap::{Args, Subcommand, ValueEnum, builder::NonEmptyStringValueParser, value_parser};

use super::{RegistryArgs, values};

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
    /// Build an image from another one, or from a Containerfile
    ///
    /// With --from-image, a copy of that image's disk is booted, provisioned
    /// and kept. Files are copied first, then scripts are run, then commands,
    /// each in the order given; all of it as root. With -f or CONTEXT, buildah,
    /// podman or docker builds a Containerfile, and the result is pulled. The
    /// log of a build that fails is kept; the error names it.
    Build(Box<BuildImageArgs>),
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
    /// oci-archive:FILE[:TAG], docker-archive:FILE[:NAME[:TAG]],
    /// rootfs-tar:FILE, a bundle file:FILE[@sha256:HEX] or
    /// https://HOST/FILE@sha256:HEX, oci://HOST/REPOSITORY@sha256:HEX, or a name
    /// that a catalog has
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

/// Arguments of `image build`.
#[derive(Args, Clone, Debug)]
#[command(group = clap::ArgGroup::new("origin").required(true).multiple(true)
    .args(["from_image", "file", "context"]))]
pub struct BuildImageArgs {
    /// Directory that a Containerfile copies from, and where it is looked for
    #[arg(value_name = "CONTEXT", conflicts_with = "from_image")]
    pub context: Option<Utf8PathBuf>,
    /// Start from this image
    #[arg(long, value_name = "IMAGE", conflicts_with_all = ["file", "kernel", "kernel_path"], value_parser = NonEmptyStringValueParser::new())]
    pub from_image: Option<String>,
    /// Build this Containerfile; the context is its directory unless given
    #[arg(long, short, value_name = "CONTAINERFILE")]
    pub file: Option<Utf8PathBuf>,
    /// Keep the image under this name
    #[arg(long, short)]
    pub name: ImageName,
    /// Make the disk this large (4G, 512MiB; a bare number is MiB)
    ///
    /// By default 2 GiB more than the image it starts from; of a Containerfile
    /// a quarter more than the content, and at least 1 GiB.
    #[arg(long, value_name = "SIZE")]
    pub size: Option<Bytes>,
    /// Give the build up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = value_parser!(u64).range(1..))]
    pub timeout: u64,
    /// What is put into an image that starts from another one.
    #[command(flatten)]
    pub provision: ProvisionArgs,
    /// How a Containerfile is built.
    #[command(flatten)]
    pub containerfile: ContainerfileArgs,
    /// Which kernel an image of a Containerfile boots with.
    #[command(flatten)]
    pub kernel: KernelArgs,
}

/// What is put into an image that starts from another one.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "With --from-image")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub struct ProvisionArgs {
    /// Copy a file, or the content of a directory, to a path of the guest
    #[arg(long, value_name = "SOURCE:PATH", value_parser = values::guest_copy, conflicts_with_all = ["file", "context"])]
    pub copy: Vec<(Utf8PathBuf, String)>,
    /// Run this script of the host in the guest
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "context"])]
    pub script: Vec<Utf8PathBuf>,
    /// Run this command of the shell in the guest
    #[arg(long, value_name = "COMMAND", value_parser = NonEmptyStringValueParser::new(), conflicts_with_all = ["file", "context"])]
    pub run: Vec<String>,
    /// Install nothing of banger's own
    #[arg(long, conflicts_with_all = ["file", "context"])]
    pub bare: bool,
    /// Do not install the base packages
    #[arg(long, conflicts_with_all = ["file", "context"])]
    pub no_base_packages: bool,
    /// Do not install mise
    #[arg(long, conflicts_with_all = ["file", "context"])]
    pub no_mise: bool,
    /// Do not install plugins of tmux
    #[arg(long, conflicts_with_all = ["file", "context"])]
    pub no_tmux_plugins: bool,
    /// Do not install opencode
    #[arg(long, conflicts_with_all = ["file", "context"])]
    pub no_opencode: bool,
    /// Do not install the modules of the image's kernel
    #[arg(long, conflicts_with_all = ["file", "context"])]
    pub no_modules: bool,
    /// Build with so many virtual CPUs
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = value_parser!(u32).range(1..=64))]
    pub cpus: u32,
    /// Build with this much memory
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = values::memory)]
    pub memory: Bytes,
    /// Build on this backend instead of the best one there is
    #[arg(long, value_name = "NAME", value_parser = values::backend)]
    pub backend: Option<BackendKind>,
    /// Build with this network: user (what the host's user reaches) or none
    #[arg(long, value_name = "NETWORK", default_value = NetworkMode::User.as_str(), value_parser = values::network)]
    pub network: NetworkMode,
}

/// How a Containerfile is built.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "With a Containerfile")]
pub struct ContainerfileArgs {
    /// Build with this program: buildah, podman or docker
    ///
    /// By default with the first of them that is installed.
    #[arg(long, value_name = "PROGRAM", value_parser = values::container_builder, conflicts_with = "from_image")]
    pub builder: Option<ContainerBuilder>,
    /// Give an ARG of the file a value
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::variable, conflicts_with = "from_image")]
    pub build_arg: Vec<String>,
    /// Stop at this stage of the file
    #[arg(long, value_name = "STAGE", conflicts_with = "from_image")]
    pub target: Option<String>,
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

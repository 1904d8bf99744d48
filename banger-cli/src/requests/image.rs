//! Requests about images.

use banger_core::{
    bundle::BundleReference,
    domain::{Bytes, ImageName, Selector},
    image::{
        BundleImageRequest, LoadRequest, LoadSource, PullRequest, RegisterRequest, SaveFormat,
    },
    kernel::{KernelPaths, KernelSelection},
    oci::ImageReference,
};
use camino::{Utf8Path, Utf8PathBuf};

use super::PlainTask;
use crate::{
    args::{BundleImageArgs, KernelArgs, PullArgs, RegisterArgs, SaveFormatArg},
    error::CliError,
};

/// Which image `vm run` means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One that is here, or that a catalog has.
    Existing(Selector),
    /// A bundle, of which an image is made when there is none of it.
    Bundle(BundleReference),
    /// One that is pulled when it is not here.
    Reference(ImageReference),
}

/// How `vm run` pulls an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PullOptions {
    /// The kernel it boots with.
    pub kernel: KernelSelection,
    /// The disk's size.
    pub size: Option<Bytes>,
}

/// A bundle and a name are known by their form. A name that comes with a size
/// can only be an image's reference, which lacks its registry.
pub(super) fn pull(args: PullArgs, directory: &Utf8Path) -> Result<PlainTask, CliError> {
    if BundleReference::is_one(&args.reference) {
        if args.size.is_some() {
            return Err(CliError::usage(
                "--size cannot be used with a bundle, whose disk has its size",
            ));
        }
        let source = LoadSource::Bundle(bundle(&args.reference, directory)?);
        return Ok(PlainTask::LoadImage(load(source, args, directory)));
    }
    match args.reference.parse::<ImageName>() {
        Ok(name) if args.size.is_none() => {
            let text = args.reference.clone();
            let request = load(LoadSource::Catalog(name), args, directory);
            Ok(PlainTask::LoadNamed(text, request))
        }
        _ => pull_reference(args, directory).map(PlainTask::PullImage),
    }
}

fn bundle(text: &str, directory: &Utf8Path) -> Result<BundleReference, CliError> {
    Ok(text.parse::<BundleReference>()?.absolute(directory))
}

fn load(source: LoadSource, args: PullArgs, directory: &Utf8Path) -> LoadRequest {
    LoadRequest {
        source,
        name: args.name,
        kernel: kernel(args.kernel, directory),
    }
}

pub(super) fn bundle_image(args: BundleImageArgs, directory: &Utf8Path) -> BundleImageRequest {
    BundleImageRequest {
        image: Selector::from(args.image.as_str()),
        target: directory.join(args.output).into(),
        with_kernel: !args.without_kernel,
    }
}

fn pull_reference(args: PullArgs, directory: &Utf8Path) -> Result<PullRequest, CliError> {
    let reference = reference(&args.reference, directory)?;
    if args.name.is_none() && reference.default_name().is_none() {
        return Err(CliError::Usage {
            message: format!("no image name can be made from {reference}"),
            hint: Some("name it with --name".to_owned()),
        });
    }
    Ok(PullRequest {
        reference,
        name: args.name,
        kernel: kernel(args.kernel, directory),
        size: args.size,
        containerfile: None,
    })
}

pub(super) fn register(args: RegisterArgs, directory: &Utf8Path) -> RegisterRequest {
    RegisterRequest {
        name: args.name,
        rootfs: directory.join(args.rootfs),
        kernel: kernel(args.kernel, directory),
    }
}

/// The format, and the file unless it is standard output.
pub(super) fn save(
    format: SaveFormatArg,
    output: Utf8PathBuf,
    directory: &Utf8Path,
) -> (SaveFormat, Option<Utf8PathBuf>) {
    let format = match format {
        SaveFormatArg::OciArchive => SaveFormat::OciArchive,
        SaveFormatArg::DockerArchive => SaveFormat::DockerArchive,
        SaveFormatArg::RootfsTar => SaveFormat::RootfsTar,
    };
    (format, (output != "-").then(|| directory.join(output)))
}

/// A text in the form of a name (or an id, which has the same letters) is a
/// name; no reference has that form.
pub(super) fn target(text: &str, directory: &Utf8Path) -> Result<Target, CliError> {
    if text.parse::<ImageName>().is_ok() {
        return Ok(Target::Existing(Selector::from(text)));
    }
    if BundleReference::is_one(text) {
        return bundle(text, directory).map(Target::Bundle);
    }
    reference(text, directory).map(Target::Reference)
}

pub(super) fn kernel(args: KernelArgs, directory: &Utf8Path) -> KernelSelection {
    let absolute = |path: Option<camino::Utf8PathBuf>| path.map(|path| directory.join(path));
    KernelSelection {
        name: args.kernel,
        paths: KernelPaths {
            kernel: absolute(args.kernel_path),
            initrd: absolute(args.initrd_path),
            modules: absolute(args.modules_path),
        },
    }
}

/// Sources whose reference begins with a path of the host.
const FILE_SOURCES: [&str; 4] = ["oci", "oci-archive", "docker-archive", "rootfs-tar"];

/// Relative paths are made absolute, so that the record says the same from
/// wherever it is read.
pub(super) fn reference(text: &str, directory: &Utf8Path) -> Result<ImageReference, CliError> {
    let (source, rest) = match text.split_once(':') {
        Some((source, rest)) if FILE_SOURCES.contains(&source) => (source, rest),
        _ => return Ok(text.parse()?),
    };
    if rest.is_empty() || (source, rest) == ("rootfs-tar", "-") {
        return Ok(text.parse()?);
    }
    // what is wrong with it is told of what the user wrote
    text.parse::<ImageReference>()?;
    let path = directory.join(rest.strip_prefix("./").unwrap_or(rest));
    let holds_colon = source.ends_with("-archive") && directory.as_str().contains(':');
    if holds_colon && !rest.starts_with('/') {
        return Err(CliError::Usage {
            message: format!("{source}: cannot name files below {directory}, which has a colon"),
            hint: Some("give the archive by a path without colons".to_owned()),
        });
    }
    Ok(format!("{source}:{path}").parse()?)
}

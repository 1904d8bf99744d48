//! Where images and kernels come from: paths are the server's, and absolute.

use banger_core::{
    bundle::{BundleReference, Location},
    kernel::KernelSource,
    oci::ImageReference,
};
use camino::Utf8Path;

use super::Checks;

/// Longest signature that was beside a file.
const MAX_SIGNATURE: usize = 16_384;
const RELATIVE: &str = "the path is not absolute";

/// The image that a client means.
pub(crate) fn image(text: &str, checks: &mut Checks) -> Option<ImageReference> {
    let reference: ImageReference = checks.parse("reference", text)?;
    let is_file = !matches!(reference, ImageReference::Registry(_));
    let path = text.split_once(':').map_or("", |(_, path)| path);
    if is_file && !path.starts_with('/') {
        checks.violated("reference", RELATIVE);
        return None;
    }
    Some(reference)
}

/// An image in files of the client's own: a path is only how they are called.
pub(crate) fn image_elsewhere(text: &str, checks: &mut Checks) -> Option<ImageReference> {
    let reference: ImageReference = checks.parse("reference", text)?;
    if let ImageReference::Registry(_) = reference {
        checks.violated("upload", "is given with an image in a registry");
        return None;
    }
    Some(reference)
}

/// A bundle, which is perhaps a file of the client's own.
pub(crate) fn bundle(
    text: &str,
    is_elsewhere: bool,
    checks: &mut Checks,
) -> Option<BundleReference> {
    let reference: BundleReference = checks.parse("bundle", text)?;
    match &reference.location {
        Location::File(path) if path.is_relative() && !is_elsewhere => {
            checks.violated("bundle", RELATIVE);
            None
        }
        Location::File(_) => Some(reference),
        _ if is_elsewhere => {
            checks.violated("upload", "is given with a bundle that is no file");
            None
        }
        _ => Some(reference),
    }
}

/// A kernel in a file of the client's own: its path is only how it is called.
pub(crate) fn kernel_elsewhere(text: &str, checks: &mut Checks) -> Option<KernelSource> {
    let source: KernelSource = checks.parse("source", text)?;
    let is_file = match &source {
        KernelSource::DebFile(_) | KernelSource::File(_) => true,
        KernelSource::Bundle(bundle) => matches!(bundle.location, Location::File(_)),
        _ => false,
    };
    if !is_file {
        checks.violated("upload", "is given with a source that is no file");
        return None;
    }
    Some(source)
}

/// Checks a signature that was beside a file.
pub(crate) fn signature(text: &str, checks: &mut Checks) {
    if MAX_SIGNATURE < text.len() {
        checks.violated("signature", "is too long");
    }
}

/// The path in the source of a kernel.
pub(crate) fn path(text: &str) -> &str {
    let scheme = ["deb:", "file:"].into_iter();
    let mut rests = scheme.filter_map(|scheme| text.strip_prefix(scheme));
    rests.next().unwrap_or(text)
}

/// The kernel that a client means.
pub(crate) fn kernel(text: &str, checks: &mut Checks) -> Option<KernelSource> {
    let source: KernelSource = checks.parse("source", text)?;
    let absolute = match &source {
        KernelSource::Directory(path) | KernelSource::DebFile(path) | KernelSource::File(path) => {
            path.is_absolute()
        }
        KernelSource::Bundle(_) => text
            .strip_prefix("file:")
            .is_none_or(|path| Utf8Path::new(path).is_absolute()),
        _ => true,
    };
    if !absolute {
        checks.violated("source", RELATIVE);
        return None;
    }
    Some(source)
}

/// Whether the image is to come out of the host's own files. What is no reference at all
/// is refused elsewhere.
pub(crate) fn is_host_image(text: &str) -> bool {
    let reference: Result<ImageReference, _> = text.parse();
    reference.is_ok_and(|reference| !matches!(reference, ImageReference::Registry(_)))
}

/// Whether the kernel is to come out of the host's own files. What is no source at all is
/// refused elsewhere.
pub(crate) fn is_host_kernel(text: &str) -> bool {
    match text.parse() {
        Ok(KernelSource::Bundle(_)) => text.starts_with("file:"),
        Ok(KernelSource::AptPackage(_)) | Err(_) => false,
        Ok(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute() {
        let digest = "a".repeat(64);
        let bundle = format!("https://example.com/k@sha256:{digest}");
        for (text, fine) in [
            ("registry.example/a/b:c", true),
            ("oci:/srv/layout:tag", true),
            ("oci:layout:tag", false),
            ("docker-archive:/srv/a.tar", true),
            ("docker-archive:a.tar", false),
            ("rootfs-tar:-", false),
            ("", false),
        ] {
            let mut checks = Checks::default();
            assert_eq!(image(text, &mut checks).is_some(), fine, "{text}");
            assert_eq!(checks.finish().is_ok(), fine, "{text}");
        }
        for (text, fine) in [
            ("deb:/srv/k.deb", true),
            ("deb:k.deb", false),
            ("dir:k", false),
            ("/boot/vmlinuz", true),
            ("vmlinuz", false),
            ("apt:linux-image-cloud-amd64", true),
            (bundle.as_str(), true),
            ("file:/k.tar.zst", true),
            ("file:k.tar.zst", false),
        ] {
            let mut checks = Checks::default();
            assert_eq!(kernel(text, &mut checks).is_some(), fine, "{text}");
            assert_eq!(checks.finish().is_ok(), fine, "{text}");
        }
    }
}

//! Where images and kernels come from: paths are the server's, and absolute.

use banger_core::{kernel::KernelSource, oci::ImageReference};
use camino::Utf8Path;

use super::Checks;

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

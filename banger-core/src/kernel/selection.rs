//! How users say which kernel they mean and where one comes from.

use std::{fmt, fs::File, str::FromStr};

use camino::{Utf8Path, Utf8PathBuf};

use super::ImportKernelError;
use crate::{
    bundle::{BundleReference, BundleReferenceParseError},
    domain::KernelName,
    host_fs::{FileRange, IoContext as _},
    oci::{BROUGHT, Delivery},
};

/// A user's choice of kernel; empty when nothing was chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelSelection {
    /// The name of a kernel in the store.
    pub name: Option<KernelName>,
    /// Files of the user.
    pub paths: KernelPaths,
}

impl KernelSelection {
    /// Whether nothing was chosen.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.name.is_none() && self.paths.is_empty()
    }
}

/// Kernel files given by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelPaths {
    /// The kernel.
    pub kernel: Option<Utf8PathBuf>,
    /// An initrd.
    pub initrd: Option<Utf8PathBuf>,
    /// A directory of modules.
    pub modules: Option<Utf8PathBuf>,
}

impl KernelPaths {
    /// Whether no path was given.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.kernel.is_none() && self.initrd.is_none() && self.modules.is_none()
    }
}

/// Where `kernel import` takes a kernel from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KernelSource {
    /// `dir:PATH`: a directory with `vmlinux` or `vmlinuz*`, perhaps
    /// `lib/modules/<release>` or `modules/`, perhaps `initrd.img`.
    Directory(Utf8PathBuf),
    /// `deb:FILE`: a Debian kernel package.
    DebFile(Utf8PathBuf),
    /// `apt:PACKAGE`: fetched through the host's own apt; a metapackage is
    /// followed to the package with the kernel.
    AptPackage(String),
    /// A `vmlinux` or `bzImage` file.
    File(Utf8PathBuf),
    /// `file:PATH[@sha256:HEX]`, `https://HOST/PATH@sha256:HEX` or
    /// `oci://HOST/REPOSITORY[:TAG]@sha256:HEX`: a bundle.
    Bundle(BundleReference),
    /// A package or a file that was brought here from elsewhere.
    Brought {
        /// What it was called there.
        called: Box<Self>,
        /// Where it is here.
        file: Utf8PathBuf,
    },
}

impl KernelSource {
    /// What it names on this host, with the minisign signature beside a bundle; none of
    /// directories and of what is elsewhere. Holds up its thread for a moment.
    pub fn delivery(&self) -> Result<Option<(Delivery, Option<String>)>, ImportKernelError> {
        match self {
            Self::DebFile(path) | Self::File(path) => {
                let file = File::open(path).at("open", path);
                let file = file.map_err(ImportKernelError::Io)?;
                let inspected = file.metadata().at("inspect", path);
                if !inspected.map_err(ImportKernelError::Io)?.is_file() {
                    return Err(ImportKernelError::NoKernel {
                        source_name: self.to_string(),
                        problem: format!("{path} is not a regular file"),
                    });
                }
                let range = FileRange::whole(file).at("inspect", path);
                let range = range.map_err(ImportKernelError::Io)?;
                Ok(Some((Delivery::of_range(path, range), None)))
            }
            Self::Bundle(reference) => {
                reference
                    .delivery()
                    .map_err(|error| ImportKernelError::Supply {
                        source_name: self.to_string(),
                        source: error.into(),
                    })
            }
            Self::Directory(_) | Self::AptPackage(_) | Self::Brought { .. } => Ok(None),
        }
    }

    /// The same of a file that was brought here, where it is called as the source says;
    /// what is no file stays.
    #[must_use]
    pub fn brought_to(self, file: &Utf8Path, signature: Option<String>) -> Self {
        match self {
            Self::DebFile(_) | Self::File(_) => Self::Brought {
                called: Box::new(self),
                file: file.to_owned(),
            },
            Self::Bundle(reference) => Self::Bundle(reference.brought_to(file, signature)),
            other => other,
        }
    }

    /// What a policy is asked about. How a file was called elsewhere is only what
    /// somebody says.
    pub(super) fn subject(&self) -> String {
        match self {
            Self::Brought { called, .. } => format!("{BROUGHT}{called}"),
            Self::Bundle(reference) => reference.subjects().0,
            other => other.to_string(),
        }
    }
}

impl fmt::Display for KernelSource {
    /// The text it is parsed from.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "dir:{path}"),
            Self::DebFile(path) => write!(f, "deb:{path}"),
            Self::AptPackage(package) => write!(f, "apt:{package}"),
            Self::File(path) => write!(f, "{path}"),
            Self::Bundle(reference) => reference.fmt(f),
            Self::Brought { called, .. } => called.fmt(f),
        }
    }
}

/// A text that names no kernel source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "kernel source {text:?} is not dir:PATH, deb:FILE, apt:PACKAGE, the path of a kernel file, \
     file:BUNDLE, https://HOST/BUNDLE@sha256:HEX or oci://HOST/REPOSITORY@sha256:HEX: {problem}"
)]
pub struct KernelSourceParseError {
    text: String,
    problem: String,
}

impl FromStr for KernelSource {
    type Err = KernelSourceParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |problem: &str| {
            Err(KernelSourceParseError {
                text: text.to_owned(),
                problem: problem.to_owned(),
            })
        };
        if BundleReference::is_one(text) {
            return match text.parse() {
                Ok(reference) => Ok(Self::Bundle(reference)),
                Err(error) => refuse(&BundleReferenceParseError::to_string(&error)),
            };
        }
        match text.split_once(':') {
            None if !text.is_empty() => Ok(Self::File(text.into())),
            None | Some((_, "")) => refuse("nothing is named"),
            Some(("dir", path)) => Ok(Self::Directory(path.into())),
            Some(("deb", path)) => Ok(Self::DebFile(path.into())),
            Some(("apt", name)) if is_package_name(name) => Ok(Self::AptPackage(name.to_owned())),
            Some(("apt", _)) => refuse("not a Debian package name"),
            Some((place, _)) if place.contains('/') => Ok(Self::File(text.into())),
            Some(_) => refuse("the scheme is unknown"),
        }
    }
}

/// Debian policy, 5.6.1: lower-case letters, digits, `+`, `-`, `.`; at least
/// two characters; starts with a letter or digit. It cannot be an option.
fn is_package_name(text: &str) -> bool {
    let allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.');
    2 <= text.len()
        && text.bytes().all(allowed)
        && !matches!(text.as_bytes()[0], b'+' | b'-' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_parse() {
        let cases = [
            ("dir:/k", KernelSource::Directory("/k".into())),
            ("deb:./k.deb", KernelSource::DebFile("./k.deb".into())),
            (
                "apt:linux-image-cloud-amd64",
                KernelSource::AptPackage("linux-image-cloud-amd64".into()),
            ),
            ("/boot/vmlinuz", KernelSource::File("/boot/vmlinuz".into())),
            ("./a:b", KernelSource::File("./a:b".into())),
            (
                "file:k.tar.zst",
                KernelSource::Bundle("file:k.tar.zst".parse().unwrap()),
            ),
        ];
        for (text, source) in cases {
            assert_eq!(source.to_string(), text);
            assert_eq!(text.parse(), Ok(source), "{text}");
        }
        for text in [
            "",
            "dir:",
            ":x",
            ":apt:xy",
            "apt:-oX=y",
            "apt:x y",
            "ftp:x",
            "https://x/k",
        ] {
            assert!(
                text.parse::<KernelSource>().is_err(),
                "{text:?} was accepted"
            );
        }
    }
}

//! Debian kernel packages (deb(5), deb-version 2).
//!
//! Purpose: find a package's kernel and take the kernel, its configuration
//! and its modules out. Invariants: only those three places of the package
//! are looked at, everything else is passed over; the inflated package is
//! bounded; no path of the package is used unchecked.
//! Entry points: [`release`], [`extract`].

use std::{fs::File, io::Read};

use camino::Utf8Path;
use tokio_util::sync::CancellationToken;

use super::{
    ar::{ArReader, Member},
    fault::Fault,
    inflate::{Compression, Limited, inflate},
    module_tree::{ModuleTreeWriter, TreePath},
    release::is_release,
    tarball::{EntryKind, TarReader},
    transfer::{Attended, write_new_file},
};
use crate::host_fs::IoContext as _;

/// Most bytes of a package's inflated files.
const INFLATED_LIMIT: u64 = 4 << 30;
/// Most bytes of a packed kernel or its configuration.
const FILE_LIMIT: u64 = 256 << 20;
/// Most entries of a package.
const ENTRIES_LIMIT: u32 = 200_000;

/// What was taken out of a package, beside the module tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extracted {
    /// Whether the package has modules of the kernel.
    pub(crate) modules: bool,
}

/// Where [`extract`] puts what it finds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Targets<'a> {
    /// The kernel, as packed as it comes.
    pub(crate) kernel: &'a Utf8Path,
    /// The kernel's configuration.
    pub(crate) config: &'a Utf8Path,
    /// The module tree.
    pub(crate) modules: &'a Utf8Path,
}

/// The release of the package's kernel, from its file name in `/boot`.
pub(crate) fn release(package: &Utf8Path, cancelled: &CancellationToken) -> Result<String, Fault> {
    let mut entries = Entries::open(package, cancelled)?;
    while let Some((place, kind)) = entries.next_place()? {
        if let (Place::Kernel(release), EntryKind::File) = (place, kind) {
            return Ok(release);
        }
    }
    let problem = "it has no boot/vmlinuz-* or boot/vmlinux-*";
    Err(Fault::NoKernel(problem.to_owned()))
}

/// Takes the kernel of this release out of the package.
pub(crate) fn extract(
    package: &Utf8Path,
    release: &str,
    targets: &Targets<'_>,
    cancelled: &CancellationToken,
) -> Result<Extracted, Fault> {
    let mut entries = Entries::open(package, cancelled)?;
    let mut modules = ModuleTreeWriter::new(targets.modules.to_owned());
    while let Some((place, kind)) = entries.next_place()? {
        let content = &mut entries.tar;
        match (place, kind) {
            (Place::Kernel(found), EntryKind::File) if found == release => {
                write_new_file(content, targets.kernel, FILE_LIMIT)?;
            }
            (Place::Config(found), EntryKind::File) if found == release => {
                write_new_file(content, targets.config, FILE_LIMIT)?;
            }
            (Place::Module(found, path), kind) if found == release => {
                take_module(&mut modules, &path, kind, content)?;
            }
            _ => {}
        }
    }
    Ok(Extracted {
        modules: modules.finish().is_some(),
    })
}

/// Links (to the build's source, among debug files) are no part of a tree
/// that modules are loaded from.
fn take_module(
    modules: &mut ModuleTreeWriter,
    path: &[String],
    kind: EntryKind,
    content: impl Read,
) -> Result<(), Fault> {
    if path.is_empty() {
        return Ok(());
    }
    let components: Vec<&str> = path.iter().map(String::as_str).collect();
    let path = TreePath::of(&components)?;
    match kind {
        EntryKind::File => modules.file(&path, content),
        EntryKind::Directory => modules.directory(&path),
        EntryKind::Symlink | EntryKind::Other => Ok(()),
        EntryKind::HardLink => Err(Fault::Malformed(format!(
            "its module {path:?} is a hard link, which packages never have"
        ))),
    }
}

/// The entries of a package's data archive.
struct Entries {
    tar: TarReader<Box<dyn Read>>,
    count: u32,
}

impl Entries {
    fn open(package: &Utf8Path, cancelled: &CancellationToken) -> Result<Self, Fault> {
        let file = File::open(package).at("open", package)?;
        let length = file.metadata().at("inspect", package)?.len();
        let source = Attended::new(file, cancelled.clone());
        let data = data_archive(source, length).map_err(Fault::Malformed)?;
        Ok(Self {
            tar: TarReader::new(data),
            count: 0,
        })
    }

    fn next_place(&mut self) -> Result<Option<(Place, EntryKind)>, Fault> {
        self.count += 1;
        if ENTRIES_LIMIT < self.count {
            return Err(Fault::malformed("it has too many files"));
        }
        let entry = self.tar.next_entry().map_err(Fault::Malformed)?;
        Ok(entry.map(|entry| (place(&entry.path), entry.kind)))
    }
}

/// The inflated `data.tar` of a package.
fn data_archive(source: impl Read + Unpin + 'static, length: u64) -> Result<Box<dyn Read>, String> {
    let mut archive = ArReader::new(source, length)
        .map_err(|problem| format!("it is not a Debian package: {problem}"))?;
    check_format(&mut archive)?;
    while let Some(Member { name, .. }) = archive.next_member()? {
        if let Some(suffix) = name.strip_prefix("data.tar") {
            let compression = match suffix.strip_prefix('.') {
                None if suffix.is_empty() => Some(Compression::None),
                None => None,
                Some(extension) => Compression::of_extension(extension),
            };
            let compression =
                compression.ok_or_else(|| format!("its {name:?} is packed in an unknown way"))?;
            let inflated = inflate(compression, archive.into_content());
            return Ok(Box::new(Limited::new(inflated, INFLATED_LIMIT)));
        }
    }
    Err("it has no data.tar".to_owned())
}

/// "The first member is named debian-binary and contains … the format
/// version number … programs should be prepared for the minor number to be
/// increased."
fn check_format(archive: &mut ArReader<impl Read>) -> Result<(), String> {
    let first = archive.next_member()?;
    if first.is_none_or(|member| member.name != "debian-binary") {
        return Err("it is not a Debian package: its first member is not debian-binary".to_owned());
    }
    let mut version = String::new();
    archive
        .take(16)
        .read_to_string(&mut version)
        .map_err(|error| error.to_string())?;
    if !version.starts_with("2.") {
        return Err(format!("its package format {version:?} is unknown"));
    }
    Ok(())
}

/// What an entry's path says it is.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// A kernel of this release.
    Kernel(String),
    /// The configuration of the kernel of this release.
    Config(String),
    /// Something in the module tree of this release.
    Module(String, Vec<String>),
    Elsewhere,
}

fn place(path: &str) -> Place {
    let path = path.strip_prefix("./").unwrap_or(path);
    let components: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    let released = |text: &str| is_release(text).then(|| text.to_owned());
    let found = match components.as_slice() {
        ["boot", file] => {
            let kernel = ["vmlinuz-", "vmlinux-"]
                .iter()
                .find_map(|prefix| file.strip_prefix(prefix))
                .and_then(released);
            let config = file.strip_prefix("config-").and_then(released);
            kernel.map(Place::Kernel).or(config.map(Place::Config))
        }
        ["lib", "modules", release, rest @ ..] | ["usr", "lib", "modules", release, rest @ ..] => {
            let rest = rest.iter().map(|name| (*name).to_owned()).collect();
            released(release).map(|release| Place::Module(release, rest))
        }
        _ => None,
    };
    found.unwrap_or(Place::Elsewhere)
}

/// Packages made for tests.
#[cfg(test)]
pub(crate) mod fixture {
    use crate::kernel::ar;

    /// A package of these files and links (content, or link target).
    pub(crate) fn package(entries: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            let mut content = *content;
            if !matches!(kind, tar::EntryType::Regular) {
                let target = std::str::from_utf8(content).unwrap();
                if !target.is_empty() {
                    header.set_link_name(target).unwrap();
                }
                content = &[];
            }
            // the builder refuses hostile paths, so the bytes are set as they are
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append(&header, content).unwrap();
        }
        let data = builder.into_inner().unwrap();
        ar::fixture::archive(&[
            ("debian-binary", b"2.0\n"),
            ("control.tar", b""),
            ("data.tar", &data),
        ])
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tar::EntryType::{Directory, Link, Regular, Symlink};

    use super::*;

    struct Outcome {
        _scratch: tempfile::TempDir,
        root: camino::Utf8PathBuf,
        release: Result<String, Fault>,
        extracted: Option<Result<Extracted, Fault>>,
    }

    fn take_apart(package: &[u8]) -> Outcome {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap().join("inner");
        fs::create_dir(&root).unwrap();
        let file = root.join("package");
        fs::write(&file, package).unwrap();
        let token = CancellationToken::new();
        let release = super::release(&file, &token);
        let targets = Targets {
            kernel: &root.join("vmlinuz"),
            config: &root.join("config"),
            modules: &root.join("modules"),
        };
        let extracted = release
            .as_ref()
            .ok()
            .map(|release| extract(&file, release, &targets, &token));
        Outcome {
            _scratch: scratch,
            root,
            release,
            extracted,
        }
    }

    #[test]
    fn a_kernel_its_configuration_and_modules_are_taken() {
        for prefix in ["./lib", "usr/lib", "./usr/lib"] {
            let in_tree = |path: &str| format!("{prefix}/modules/6.1.0-1/{path}");
            let package = fixture::package(&[
                ("./", Directory, b""),
                ("./boot/vmlinuz-6.1.0-1", Regular, b"kernel"),
                ("./boot/config-6.1.0-1", Regular, b"config"),
                ("./etc/passwd", Regular, b"no"),
                (&in_tree(""), Directory, b""),
                (&in_tree("build"), Symlink, b"/usr/src/linux"),
                (&in_tree("kernel/a.ko"), Regular, b"module"),
                (&in_tree("kernel/link.ko"), Symlink, b"/etc/passwd"),
            ]);
            let outcome = take_apart(&package);
            assert_eq!(outcome.release.unwrap(), "6.1.0-1");
            assert!(outcome.extracted.unwrap().unwrap().modules);
            let read = |path: &str| fs::read_to_string(outcome.root.join(path)).unwrap();
            assert_eq!(read("vmlinuz"), "kernel");
            assert_eq!(read("config"), "config");
            assert_eq!(read("modules/kernel/a.ko"), "module");
            let kernel_modules = outcome.root.join("modules/kernel");
            assert_eq!(fs::read_dir(kernel_modules).unwrap().count(), 1);
            assert_eq!(
                fs::read_dir(outcome.root.join("modules")).unwrap().count(),
                1
            );
        }
    }

    #[test]
    fn paths_that_climb_and_hard_links_are_refused() {
        let hostile: [(&str, tar::EntryType, &[u8]); 4] = [
            ("./lib/modules/6.1.0-1/../../../escaped", Regular, b"x"),
            ("./lib/modules/6.1.0-1/a/../../../../escaped", Regular, b"x"),
            ("lib/modules/6.1.0-1//etc/escaped", Regular, b"x"),
            ("./lib/modules/6.1.0-1/a.ko", Link, b"/etc/passwd"),
        ];
        for entry in hostile {
            let package = fixture::package(&[("./boot/vmlinuz-6.1.0-1", Regular, b"k"), entry]);
            let outcome = take_apart(&package);
            let error = outcome.extracted.unwrap().unwrap_err();
            assert!(matches!(error, Fault::Malformed(_)), "{error:?}");
            let above = outcome.root.parent().unwrap();
            assert_eq!(fs::read_dir(above).unwrap().count(), 1, "{entry:?}");
        }
    }

    #[test]
    fn packages_without_a_kernel_or_of_another_form_are_refused() {
        let none = fixture::package(&[("./boot/vmlinuz-..", Regular, b"k")]);
        assert!(matches!(take_apart(&none).release, Err(Fault::NoKernel(_))));
        let link = fixture::package(&[("./boot/vmlinuz-6.1.0", Symlink, b"/etc/passwd")]);
        assert!(matches!(take_apart(&link).release, Err(Fault::NoKernel(_))));
        let archives: [&[(&str, &[u8])]; 4] = [
            &[("data.tar", b"")],
            &[("debian-binary", b"3.0\n"), ("data.tar", b"")],
            &[("debian-binary", b"2.0\n"), ("data.tar.rar", b"")],
            &[("debian-binary", b"2.0\n")],
        ];
        for members in archives {
            let package = super::super::ar::fixture::archive(members);
            let release = take_apart(&package).release;
            assert!(matches!(release, Err(Fault::Malformed(_))), "{members:?}");
        }
    }

    #[test]
    fn a_package_cut_anywhere_is_refused() {
        let package = fixture::package(&[
            ("./lib/modules/6.1.0-1/a.ko", Regular, &[1; 700]),
            ("./boot/vmlinuz-6.1.0-1", Regular, b"kernel"),
        ]);
        for length in (0..package.len()).step_by(97) {
            let outcome = take_apart(&package[..length]);
            assert!(
                outcome.release.is_err() || outcome.extracted.unwrap().is_err(),
                "{length} bytes passed"
            );
        }
    }
}

//! Directories of users that hold a kernel.
//!
//! Purpose: find the kernel, initrd and modules of a `dir:` source and copy
//! its modules. Invariants: nothing of the user's is changed; links within a
//! module tree are not followed.
//! Entry points: [`find`], [`copy_modules`].

use std::fs::File;

use camino::{Utf8Path, Utf8PathBuf};
use tokio_util::sync::CancellationToken;

use super::{
    fault::Fault,
    module_tree::{ModuleTreeWriter, TreePath},
    release::is_release,
    transfer::Attended,
    vmlinux::KernelFile,
};
use crate::{
    host_fs::{IoContext as _, PathError},
    step::reached,
};

/// What a directory holds.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) release: String,
    pub(crate) kernel: Utf8PathBuf,
    pub(crate) initrd: Option<Utf8PathBuf>,
    pub(crate) modules: Option<Utf8PathBuf>,
}

/// Looks through a directory.
pub(crate) fn find(directory: &Utf8Path, cancelled: &CancellationToken) -> Result<Found, Fault> {
    let kernel = kernel_file(directory)?;
    let trees = module_trees(directory)?;
    let told = KernelFile::open(&kernel)?.release(cancelled)?;
    let only = match trees.as_slice() {
        [tree] => tree.file_name().map(str::to_owned),
        _ => None,
    };
    let release = told.or(only).ok_or_else(|| {
        Fault::malformed("neither its kernel nor a lib/modules directory tells a release")
    })?;
    let modules = modules_of(directory, &release, &trees)?;
    let initrd = Some(directory.join("initrd.img")).filter(|path| path.is_file());
    Ok(Found {
        release,
        kernel,
        initrd,
        modules,
    })
}

/// `vmlinux`, else the only file called like a kernel.
fn kernel_file(directory: &Utf8Path) -> Result<Utf8PathBuf, Fault> {
    let plain = directory.join("vmlinux");
    if plain.is_file() {
        return Ok(plain);
    }
    let mut kernels = kernels_in(directory)?;
    kernels.extend(kernels_in(&directory.join("boot"))?);
    match kernels.as_slice() {
        [kernel] => Ok(kernel.clone()),
        [] => Err(Fault::NoKernel(
            "it has no vmlinux, vmlinuz* or boot/vmlinuz*".to_owned(),
        )),
        several => Err(Fault::NoKernel(format!(
            "it has several, so give the file: {}",
            several
                .iter()
                .map(|path| path.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        ))),
    }
}

fn kernels_in(directory: &Utf8Path) -> Result<Vec<Utf8PathBuf>, PathError> {
    let is_kernel = |path: &Utf8PathBuf| {
        let name = path.file_name().unwrap_or_default();
        let named =
            name == "bzImage" || name.starts_with("vmlinuz") || name.starts_with("vmlinux-");
        named && path.is_file()
    };
    Ok(entries(directory)?.into_iter().filter(is_kernel).collect())
}

/// Every `lib/modules/<release>` of the directory.
fn module_trees(directory: &Utf8Path) -> Result<Vec<Utf8PathBuf>, PathError> {
    let mut trees = entries(&directory.join("lib/modules"))?;
    if trees.is_empty() {
        trees = entries(&directory.join("usr/lib/modules"))?;
    }
    trees.retain(|tree| tree.is_dir() && tree.file_name().is_some_and(is_release));
    Ok(trees)
}

fn modules_of(
    directory: &Utf8Path,
    release: &str,
    trees: &[Utf8PathBuf],
) -> Result<Option<Utf8PathBuf>, Fault> {
    let plain = directory.join("modules");
    let of_release = trees.iter().find(|tree| tree.file_name() == Some(release));
    match of_release {
        Some(tree) => Ok(Some(tree.clone())),
        None if plain.is_dir() => Ok(Some(plain)),
        None if trees.is_empty() => Ok(None),
        None => Err(Fault::Malformed(format!(
            "its kernel is {release}, but its modules are those of another"
        ))),
    }
}

/// A directory's entries by name; none when there is no such directory.
fn entries(directory: &Utf8Path) -> Result<Vec<Utf8PathBuf>, PathError> {
    let entries = match directory.read_dir_utf8() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.at("read directory", directory)?,
    };
    let mut paths = entries
        .map(|entry| Ok(entry.at("read directory", directory)?.into_path()))
        .collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    Ok(paths)
}

/// Copies a module tree to `target`; links are left out.
pub(crate) fn copy_modules(
    tree: &Utf8Path,
    target: &Utf8Path,
    cancelled: &CancellationToken,
) -> Result<(), Fault> {
    let mut writer = ModuleTreeWriter::new(target.to_owned());
    let mut pending = vec![tree.to_owned()];
    while let Some(directory) = pending.pop() {
        for path in entries(&directory)? {
            let kind = path.symlink_metadata().at("inspect", &path)?.file_type();
            let below = below(tree, &path)?;
            if kind.is_dir() {
                writer.directory(&below)?;
                pending.push(path);
            } else if kind.is_file() {
                let file = File::open(&path).at("open", &path)?;
                writer.file(&below, Attended::new(file, cancelled.clone()))?;
            } else if !below.is_build_link() {
                tracing::debug!(%path, "left out of the module tree: not a file");
            }
        }
    }
    reached("wrote a module tree");
    if writer.finish().is_none() {
        return Err(Fault::Malformed(format!("its module tree {tree} is empty")));
    }
    Ok(())
}

fn below(tree: &Utf8Path, path: &Utf8Path) -> Result<TreePath, Fault> {
    let relative = path.strip_prefix(tree).unwrap_or(path);
    let components: Vec<&str> = relative.as_str().split('/').collect();
    TreePath::of(&components)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::kernel::{bzimage, elf};

    fn directory(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Utf8PathBuf) {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap().to_owned();
        for (path, content) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        (scratch, root)
    }

    fn look(root: &Utf8Path) -> Result<Found, Fault> {
        find(root, &CancellationToken::new())
    }

    fn packed(release: &str) -> Vec<u8> {
        bzimage::fixture::image(release, &elf::fixture::header())
    }

    #[test]
    fn a_root_file_system_and_a_plain_directory_are_understood() {
        let (_scratch, root) = directory(&[
            ("boot/vmlinuz-6.1.0", &packed("6.1.0")),
            ("lib/modules/6.1.0/kernel/a.ko", b"a"),
            ("lib/modules/5.1.0/kernel/a.ko", b"a"),
            ("initrd.img", b"i"),
        ]);
        let found = look(&root).unwrap();
        assert_eq!(found.release, "6.1.0");
        assert_eq!(found.kernel, root.join("boot/vmlinuz-6.1.0"));
        assert_eq!(found.modules, Some(root.join("lib/modules/6.1.0")));
        assert_eq!(found.initrd, Some(root.join("initrd.img")));

        let kernel = elf::fixture::header();
        let (_scratch, root) = directory(&[("vmlinux", &kernel), ("lib/modules/6.2.0/a.ko", b"a")]);
        let found = look(&root).unwrap();
        assert_eq!(found.release, "6.2.0");
        assert_eq!(found.initrd, None);
    }

    #[test]
    fn nothing_several_and_a_mismatch_are_refused() {
        let (_scratch, root) = directory(&[]);
        assert!(matches!(look(&root), Err(Fault::NoKernel(_))));
        let (_scratch, root) = directory(&[
            ("vmlinuz-6.1.0", &packed("6.1.0")),
            ("vmlinuz-6.2.0", &packed("6.2.0")),
        ]);
        let error = look(&root).unwrap_err();
        assert!(matches!(&error, Fault::NoKernel(text) if text.contains("several")));
        let (_scratch, root) = directory(&[
            ("vmlinuz", &packed("6.1.0")),
            ("lib/modules/6.2.0/a.ko", b"a"),
        ]);
        assert!(matches!(look(&root), Err(Fault::Malformed(_))));
        let (_scratch, root) = directory(&[("vmlinux", &elf::fixture::header())]);
        assert!(matches!(look(&root), Err(Fault::Malformed(_))));
    }

    #[test]
    fn modules_are_copied_without_their_links() {
        let (_scratch, root) =
            directory(&[("tree/kernel/a.ko", b"a"), ("tree/modules.order", b"")]);
        std::os::unix::fs::symlink("/usr/src", root.join("tree/build")).unwrap();
        std::os::unix::fs::symlink("/etc", root.join("tree/kernel/etc")).unwrap();
        let target = root.join("copy");
        copy_modules(&root.join("tree"), &target, &CancellationToken::new()).unwrap();
        assert_eq!(fs::read(target.join("kernel/a.ko")).unwrap(), b"a");
        assert!(target.join("modules.order").is_file());
        assert_eq!(fs::read_dir(&target).unwrap().count(), 2);
        assert_eq!(fs::read_dir(target.join("kernel")).unwrap().count(), 1);
    }
}

//! Copying a kernel triple beside an image's root disk.

use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    domain::BootArtifacts,
    host_fs::{PathError, copy_file, copy_tree, sync_directory},
};

/// Where an optional artifact will lie in `directory`; none when it has no source.
#[must_use]
pub fn stage_optional_artifact_path(
    directory: &Utf8Path,
    source: Option<&Utf8Path>,
    name: &str,
) -> Option<Utf8PathBuf> {
    source.map(|_| directory.join(name))
}

/// Copies a kernel triple into `directory` (by reflink where possible) and
/// answers the paths of the copies. Holds up its thread: the module tree may
/// have thousands of files.
pub fn stage_boot_artifacts(
    boot: &BootArtifacts,
    directory: &Utf8Path,
) -> Result<BootArtifacts, PathError> {
    let staged = staged_boot_artifacts(boot, directory);
    copy_file(&boot.kernel, &staged.kernel)?;
    if let (Some(from), Some(to)) = (&boot.initrd, &staged.initrd) {
        copy_file(from, to)?;
    }
    if let (Some(from), Some(to)) = (&boot.modules, &staged.modules) {
        copy_tree(from, to)?;
    }
    sync_directory(directory)?;
    Ok(staged)
}

/// The paths a triple has once staged in `directory`.
pub(super) fn staged_boot_artifacts(boot: &BootArtifacts, directory: &Utf8Path) -> BootArtifacts {
    BootArtifacts {
        kernel: directory.join("vmlinux"),
        initrd: stage_optional_artifact_path(directory, boot.initrd.as_deref(), "initrd.img"),
        modules: stage_optional_artifact_path(directory, boot.modules.as_deref(), "modules"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_triple_is_copied_and_missing_parts_stay_missing() {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        fs::write(root.join("k"), "kernel").unwrap();
        fs::create_dir_all(root.join("m/kernel")).unwrap();
        fs::write(root.join("m/kernel/a.ko"), "module").unwrap();
        let boot = BootArtifacts {
            kernel: root.join("k"),
            initrd: None,
            modules: Some(root.join("m")),
        };
        let target = root.join("target");
        fs::create_dir(&target).unwrap();
        let staged = stage_boot_artifacts(&boot, &target).unwrap();
        assert_eq!(staged.initrd, None);
        assert_eq!(fs::read_to_string(staged.kernel).unwrap(), "kernel");
        assert_eq!(
            fs::read_to_string(target.join("modules/kernel/a.ko")).unwrap(),
            "module"
        );
    }
}

//! Initrds read back by cpio, and refused inputs.

use std::{fs, io::Write as _, process::Stdio};

use camino::Utf8PathBuf;

use super::*;
use crate::kernel::elf;

struct Tree {
    _scratch: tempfile::TempDir,
    root: Utf8PathBuf,
    program: Utf8PathBuf,
}

/// A tree of modules, each with its `.modinfo`.
fn tree(modules: &[(&str, &str)]) -> Tree {
    let scratch = tempfile::tempdir().unwrap();
    let base = Utf8Path::from_path(scratch.path()).unwrap();
    let (root, program) = (base.join("modules"), base.join("guest"));
    fs::create_dir_all(root.join("kernel/drivers")).unwrap();
    for (file, modinfo) in modules {
        let content = elf::fixture::with_modinfo(modinfo.as_bytes());
        fs::write(root.join("kernel/drivers").join(file), content).unwrap();
    }
    fs::write(&program, "#!program").unwrap();
    Tree {
        _scratch: scratch,
        root,
        program,
    }
}

impl Tree {
    fn index(&self, name: &str, content: &str) {
        fs::write(self.root.join(name), content).unwrap();
    }

    fn build(&self, wanted: &[&str]) -> Result<Initrd, InitrdError> {
        build(&InitrdRequest {
            guest_program: &self.program,
            modules: Some(&self.root),
            wanted,
            wished: &[],
        })
    }

    fn order(&self, wanted: &[&str]) -> Vec<String> {
        let paths = self.build(wanted).unwrap().module_paths;
        let name = |path: &String| {
            let name = path.strip_prefix("/lib/modules/").unwrap();
            name.strip_suffix(".ko").unwrap().to_owned()
        };
        paths.iter().map(name).collect()
    }
}

/// What the real cpio says of an archive.
#[expect(clippy::disallowed_methods, reason = "a blocking child with an input")]
fn cpio(arguments: &[&str], archive: &[u8], directory: &Utf8Path) -> String {
    let mut child = std::process::Command::new("cpio")
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("cpio is needed: install the package cpio");
    child.stdin.take().unwrap().write_all(archive).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn modules_come_after_what_they_need() {
    let tree = tree(&[
        ("virtio_mmio.ko", "depends=virtio,virtio-ring\0"),
        ("virtio-blk.ko", "depends=virtio_ring,virtio\0"),
        ("virtio.ko", "depends=\0"),
        ("virtio-ring.ko", "depends=virtio\0"),
    ]);
    tree.index("modules.builtin", "kernel/fs/ext4/ext4.ko\n");
    assert_eq!(
        tree.order(&["virtio-mmio", "virtio_blk", "ext4", "virtio"]),
        ["virtio", "virtio_ring", "virtio_mmio", "virtio_blk"]
    );
    assert!(tree.order(&["ext4"]).is_empty());
}

#[test]
fn the_index_of_depmod_wins_where_it_speaks() {
    let tree = tree(&[
        ("a.ko", "depends=missing\0"),
        ("b.ko", "depends=c\0"),
        ("c.ko", "depends=\0"),
    ]);
    tree.index("modules.dep", "kernel/drivers/a.ko: kernel/drivers/c.ko\n");
    assert_eq!(tree.order(&["a", "b"]), ["c", "a", "b"]);
}

#[test]
fn soft_needs_come_first_when_they_are_there() {
    let tree = tree(&[
        ("a.ko", "softdep=pre: b absent post: d\0"),
        ("b.ko", "softdep=pre: a\0"),
        ("d.ko", "depends=\0"),
    ]);
    assert_eq!(tree.order(&["a"]), ["b", "a"]);
}

#[test]
fn missing_modules_and_circles_are_named() {
    let tree = tree(&[
        ("a.ko", "depends=gone\0"),
        ("b.ko", "depends=c\0"),
        ("c.ko", "depends=b\0"),
    ]);
    let message = |name| tree.build(&[name]).unwrap_err().to_string();
    assert!(message("nothing").contains("kernel module nothing is neither"));
    assert!(message("a").contains("a depends on gone"));
    assert!(message("b").contains("b -> c -> b"));
}

#[test]
fn damaged_modules_are_named() {
    let tree = tree(&[]);
    let directory = tree.root.join("kernel/drivers");
    fs::write(directory.join("text.ko"), "text").unwrap();
    fs::write(directory.join("cut.ko.xz"), b"\xfd7zXZ\0cut").unwrap();
    for name in ["text", "cut"] {
        let error = tree.build(&[name]).unwrap_err();
        assert!(matches!(error, InitrdError::Damaged { .. }), "{error:?}");
        assert!(error.to_string().contains(&format!("{name}.ko")), "{error}");
    }
}

#[test]
fn compressed_modules_are_inflated() {
    use std::io::Read as _;
    let tree = tree(&[]);
    let module = elf::fixture::with_modinfo(b"depends=\0");
    let mut packed = Vec::new();
    flate2::bufread::GzEncoder::new(&module[..], flate2::Compression::fast())
        .read_to_end(&mut packed)
        .unwrap();
    fs::write(tree.root.join("kernel/a.ko.gz"), packed).unwrap();
    let packed = zstd::encode_all(&module[..], 1).unwrap();
    fs::write(tree.root.join("kernel/b.ko.zst"), packed).unwrap();
    let initrd = tree.build(&["a", "b"]).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let root = Utf8Path::from_path(scratch.path()).unwrap();
    cpio(&["-id", "--quiet", "lib/*"], &initrd.archive, root);
    for path in initrd.module_paths {
        let path = root.join(path.strip_prefix('/').unwrap());
        assert_eq!(fs::read(path).unwrap(), module);
    }
}

#[test]
fn the_archive_is_what_cpio_expects_and_always_the_same() {
    let tree = tree(&[("a.ko", "depends=\0")]);
    let initrd = tree.build(&["a"]).unwrap();
    assert_eq!(initrd, tree.build(&["a"]).unwrap());
    assert_eq!(initrd.archive.len() % 512, 0);
    let listing = cpio(&["-itv", "--quiet"], &initrd.archive, &tree.root);
    let lines: Vec<Vec<&str>> = listing
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let find = |path: &str| {
        let line = lines.iter().find(|line| line.last() == Some(&path));
        line.unwrap_or_else(|| panic!("{path} is missing in {listing}"))
            .clone()
    };
    for directory in ["dev", "proc", "sys", "newroot", "banger", "lib/modules"] {
        assert_eq!(find(directory)[0], "drwxr-xr-x", "{directory}");
    }
    assert_eq!(find("init")[0], "-rwxr-xr-x");
    assert_eq!(find("dev/console")[0], "crw-------");
    assert_eq!(find("dev/console")[4..6], ["5,", "1"]);
    assert_eq!(find("dev/null")[4..6], ["1,", "3"]);
    assert!(listing.contains("Jan  1  1970"), "{listing}");
}

#[test]
fn no_module_tree_means_no_modules() {
    let tree = tree(&[]);
    let initrd = build(&InitrdRequest {
        guest_program: &tree.program,
        modules: None,
        wanted: &["virtio_blk"],
        wished: &[],
    });
    assert!(initrd.unwrap().module_paths.is_empty());
    let missing = build(&InitrdRequest {
        guest_program: &tree.root.join("missing"),
        modules: None,
        wanted: &[],
        wished: &[],
    });
    assert_eq!(missing.unwrap_err().kind(), crate::ErrorKind::NotFound);
}

#[test]
fn the_boot_configuration_is_an_archive_of_its_own() {
    let archive = boot_config_archive(b"configuration");
    assert_eq!(archive.len() % 512, 0);
    let scratch = tempfile::tempdir().unwrap();
    let root = Utf8Path::from_path(scratch.path()).unwrap();
    cpio(&["-id", "--quiet"], &archive, root);
    let content = fs::read(root.join("banger/boot.pb")).unwrap();
    assert_eq!(content, b"configuration");
}

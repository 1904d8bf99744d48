//! Disks without a machine, and machines on real distributions.

use banger_core::domain::Digest;

use super::{environment::Environment, registry::Registry};

/// Builds a disk and answers its digest.
fn build(environment: &Environment, reference: &str, options: &[&str]) -> Digest {
    let disk = environment.root.join("disk.ext4");
    let line = ["--json", "rootfs", "build", reference, "-o", disk.as_str()];
    environment.must(&[&line, options].concat());
    let digest = Digest::of(&std::fs::read(&disk).unwrap());
    std::fs::remove_file(disk).unwrap();
    digest
}

#[test]
fn bytes_depend_on_neither_source_nor_compression_nor_threads() {
    let registry = Registry::start();
    let environment = Environment::empty();
    let layout = environment.layout("debian", "bookworm");
    let gzip = registry.push(&layout, "debian:gzip");
    let zstd = registry.push_as(&layout, "debian:zstd", &["--dest-compress-format=zstd"]);
    let options = [
        ["--threads=1"],
        ["--threads=2"],
        ["--threads=8"],
        ["--memory=16M"],
    ];
    let mut digests = Vec::new();
    for reference in [&layout, &gzip, &zstd] {
        digests.extend(options.map(|options| build(&environment, reference, &options)));
    }
    digests.push(build(&environment, &layout, &[]));
    digests.push(build(&environment, &layout, &[]));
    digests.dedup();
    assert_eq!(digests.len(), 1, "{digests:?}");
}

#[test]
fn real_distributions_boot() {
    let environment = Environment::with_image();
    for name in ["systemd", "many-files"] {
        let layout = environment.layout(name, "latest");
        environment.must(&["image", "pull", &layout, "--name", name]);
    }
    let cases = [
        ("small", "busybox true && echo busybox", "busybox\n"),
        (
            "systemd",
            "systemctl --version | grep -o '^systemd' && readlink /sbin/init",
            "systemd\n/lib/systemd/systemd\n",
        ),
        (
            "many-files",
            "git --version | cut -c-11 && python3 -c 'import json; print(json.dumps([1]))'",
            "git version\n[1]\n",
        ),
    ];
    for (image, script, expected) in cases {
        let line = ["vm", "run", "--rm", image, "--", "sh", "-c", script];
        assert_eq!(environment.must(&line), expected, "{image}");
    }
    environment.assert_no_vm_left();
}

#[test]
fn a_disk_built_alone_is_registered_and_boots() {
    let environment = Environment::with_kernel();
    let disk = environment.root.join("disk.ext4");
    let layout = environment.layout("busybox", "latest");
    environment.must(&["rootfs", "build", &layout, "-o", disk.as_str()]);
    let digest = || Digest::of(&std::fs::read(&disk).unwrap());
    let before = digest();
    environment.must(&["image", "register", "mine", "--rootfs", disk.as_str()]);
    let script = "echo written > /file && cat /file";
    let line = ["vm", "run", "--rm", "mine", "--", "sh", "-c", script];
    assert_eq!(environment.must(&line), "written\n");
    environment.must(&["image", "delete", "mine"]);
    assert_eq!(digest(), before, "the user's disk was changed");
}

//! Images from files and from standard input.

use std::{
    fs::{self, File},
    io,
    process::{Command, Stdio},
    thread,
};

use banger_core::domain::Digest;

use super::environment::{Environment, entries};

fn tool(program: &str, arguments: &[&str]) {
    #[expect(clippy::disallowed_methods, reason = "a tool that makes archives")]
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|_| panic!("{program} is needed: use `cargo xtask test`"));
    assert!(output.status.success(), "{program}: {output:?}");
}

/// Builds a disk and answers its digest.
fn build(environment: &Environment, reference: &str, stdin: Stdio) -> Digest {
    let disk = environment.root.join("disk.ext4");
    let line = ["--json", "rootfs", "build", reference, "-o", disk.as_str()];
    let output = environment.command(&line).stdin(stdin).output().unwrap();
    assert!(output.status.success(), "{reference}: {output:?}");
    let digest = Digest::of(&fs::read(&disk).unwrap());
    fs::remove_file(disk).unwrap();
    digest
}

#[test]
fn debian_is_the_same_from_a_layout_and_from_archives() {
    let environment = Environment::empty();
    let layout = environment.layout("debian", "bookworm");
    let expected = build(&environment, &layout, Stdio::null());
    for transport in ["oci-archive", "docker-archive"] {
        let reference = format!("{transport}:{}:debian:12", environment.root.join(transport));
        tool(
            "skopeo",
            &["--insecure-policy", "copy", "--quiet", &layout, &reference],
        );
        assert_eq!(build(&environment, &reference, Stdio::null()), expected);
    }
    assert_eq!(
        entries(&environment.root.join("cache/blobs/sha256")),
        [""; 0]
    );
}

#[test]
fn a_tree_comes_from_a_file_or_from_standard_input() {
    let environment = Environment::with_kernel();
    let file = environment.root.join("tree.tar");
    let tree = environment.root.join("tree");
    fs::create_dir_all(tree.join("bin")).unwrap();
    fs::write(tree.join("bin/sh"), vec![7; 3_000_000]).unwrap();
    tool("tar", &["-C", tree.as_str(), "-cf", file.as_str(), "."]);
    let expected = build(&environment, &format!("rootfs-tar:{file}"), Stdio::null());
    let input = File::open(&file).unwrap();
    assert_eq!(build(&environment, "rootfs-tar:-", input.into()), expected);
    let (reader, mut writer) = io::pipe().unwrap();
    let bytes = fs::read(&file).unwrap();
    let writing = thread::spawn(move || io::Write::write_all(&mut writer, &bytes).unwrap());
    assert_eq!(build(&environment, "rootfs-tar:-", reader.into()), expected);
    writing.join().unwrap();
    let unnamed = environment.refused(&["image", "pull", "rootfs-tar:-"], 2);
    assert!(unnamed.contains("--name"), "{unnamed}");
    let reference = format!("rootfs-tar:{file}");
    environment.must(&["image", "pull", &reference]);
    assert!(
        environment
            .must(&["image", "show", "tree"])
            .contains(&reference)
    );
}

//! Bad input with real state: one clear line, the right status, nothing done.

use std::fs;

use super::environment::{Environment, tree};

#[test]
fn bad_input_is_refused_in_one_line_and_changes_nothing() {
    let environment = Environment::with_image();
    let layout = environment.layout("debian", "bookworm");
    let missing = environment.root.join("missing");
    let (kernel, modules) = (missing.join("vmlinux"), missing.join("modules"));
    let cases: [(&[&str], i32, &[&str]); 13] = [
        (&["vm", "run", "nothing", "--", "true"], 125, &["nothing"]),
        (&["vm", "create", "nothing"], 3, &["nothing"]),
        (&["image", "show", "nothing"], 3, &["nothing"]),
        (
            &["image", "pull", "debian:bookworm"],
            2,
            &["docker.io/library/debian"],
        ),
        (&["image", "pull", "oci:/nowhere:x"], 3, &["/nowhere"]),
        (
            &[
                "image",
                "pull",
                &layout,
                "--kernel",
                "linux",
                "--kernel-path",
                "/x",
            ],
            2,
            &["kernel"],
        ),
        (
            &[
                "image",
                "pull",
                &layout,
                "--kernel-path",
                kernel.as_str(),
                "--modules-path",
                modules.as_str(),
            ],
            2,
            &[kernel.as_str(), modules.as_str()],
        ),
        (
            &["image", "pull", &layout, "--kernel", "other"],
            3,
            &["other"],
        ),
        (
            &["image", "pull", &layout, "--name", "small"],
            4,
            &["small"],
        ),
        (&["image", "pull", &layout, "--size", "0"], 2, &["zero"]),
        (
            &["image", "pull", &layout, "--size", "32MiB"],
            2,
            &["32", "too small"],
        ),
        (
            &["vm", "run", "--memory", "0", "small", "--", "true"],
            2,
            &["zero"],
        ),
        (
            &[
                "vm",
                "run",
                "--qemu",
                "/nowhere/qemu",
                "small",
                "--",
                "true",
            ],
            125,
            &["/nowhere/qemu"],
        ),
    ];
    // locks and the database's own files may be touched, by any command
    let state = || -> Vec<_> {
        let ours = ["images", "kernels", "vms"].map(|name| environment.state().join(name));
        let mut files: Vec<_> = ours
            .iter()
            .filter(|path| path.exists())
            .flat_map(|path| tree(path))
            .collect();
        files.sort();
        files
    };
    let before = state();
    for (line, status, words) in cases {
        // progress lines start like messages do
        let message = environment.refused(&[&["--quiet"], line].concat(), status);
        let errors = message
            .lines()
            .filter(|line| line.starts_with("banger: "))
            .count();
        assert_eq!(errors, 1, "{line:?}: {message}");
        for word in words {
            assert!(message.contains(word), "{line:?}: {message}");
        }
        assert_eq!(state(), before, "{line:?}");
    }
    assert_eq!(environment.names("vm"), [""; 0]);
    assert_eq!(environment.names("image"), ["small"]);
}

#[test]
fn a_damaged_layout_is_refused_and_leaves_nothing() {
    let environment = Environment::with_kernel();
    let copy = environment.root.join("layout");
    copy_layout(&environment.testbed.join("busybox"), &copy);
    let blobs = copy.join("blobs/sha256");
    let largest = tree(&blobs)
        .into_iter()
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&largest, bytes).unwrap();
    let message = environment.refused(&["image", "pull", &format!("oci:{copy}:latest")], 8);
    assert!(message.contains("corrupt"), "{message}");
    assert_eq!(environment.names("image"), [""; 0]);
}

fn copy_layout(from: &camino::Utf8Path, to: &camino::Utf8Path) {
    for path in tree(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        if path.is_dir() {
            fs::create_dir_all(target).unwrap();
        } else {
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::write(target, fs::read(path).unwrap()).unwrap();
        }
    }
}

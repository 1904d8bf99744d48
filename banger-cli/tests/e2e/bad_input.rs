//! Bad input with real state: one clear line, the right status, nothing done.

use std::fs;

use super::environment::{Environment, tree};

/// A command line, its status, and what the message must contain. LAYOUT is a
/// good image, MISSING a directory that is not there.
const CASES: [(&str, i32, &[&str]); 18] = [
    ("vm run nothing -- true", 125, &["nothing"]),
    ("vm create nothing", 3, &["nothing"]),
    ("image show nothing", 3, &["nothing"]),
    (
        "image pull debian:bookworm",
        2,
        &["docker.io/library/debian"],
    ),
    ("image pull debian", 2, &["docker.io/library/debian"]),
    ("image pull file:/nowhere", 3, &["/nowhere"]),
    ("kernel pull nothing", 3, &["nothing", "--available"]),
    ("image bundle nothing -o MISSING", 3, &["nothing"]),
    ("kernel bundle nothing -o MISSING", 3, &["nothing"]),
    ("image pull oci:/nowhere:x", 3, &["/nowhere"]),
    (
        "image pull LAYOUT --kernel linux --kernel-path /x",
        2,
        &["kernel"],
    ),
    (
        "image pull LAYOUT --kernel-path MISSING/vmlinux --modules-path MISSING/modules",
        2,
        &["MISSING/vmlinux", "MISSING/modules"],
    ),
    ("image pull LAYOUT --kernel other", 3, &["other"]),
    ("image pull LAYOUT --name small", 4, &["small"]),
    ("image pull LAYOUT --size 0", 2, &["zero"]),
    ("image pull LAYOUT --size 32MiB", 2, &["32", "too small"]),
    ("vm run --memory 0 small -- true", 2, &["zero"]),
    (
        "--qemu /nowhere/qemu vm run small -- true",
        125,
        &["/nowhere/qemu"],
    ),
];

#[test]
fn bad_input_is_refused_in_one_line_and_changes_nothing() {
    let environment = Environment::with_image();
    let layout = environment.layout("debian", "bookworm");
    let missing = environment.root.join("missing");
    let filled = |text: &str| {
        text.replace("LAYOUT", &layout)
            .replace("MISSING", missing.as_str())
    };
    let before = artifacts(&environment);
    for (line, status, words) in CASES {
        // progress lines start like messages do
        let line = filled(&format!("--quiet {line}"));
        let message = environment.refused(&line.split(' ').collect::<Vec<_>>(), status);
        let errors = message.lines().filter(|line| line.starts_with("banger: "));
        assert_eq!(errors.count(), 1, "{line}: {message}");
        for word in words {
            assert!(message.contains(&filled(word)), "{line}: {message}");
        }
        assert_eq!(artifacts(&environment), before, "{line}");
    }
    assert_eq!(environment.names("vm"), [""; 0]);
    assert_eq!(environment.names("image"), ["small"]);
}

/// Every file but locks and the database, which any command may touch.
fn artifacts(environment: &Environment) -> Vec<camino::Utf8PathBuf> {
    let ours = ["images", "kernels", "vms"].map(|name| environment.state().join(name));
    let there = ours.iter().filter(|path| path.exists());
    let mut files: Vec<_> = there.flat_map(|path| tree(path)).collect();
    files.sort();
    files
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

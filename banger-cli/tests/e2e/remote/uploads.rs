//! Files of whoever calls, for a service and without one.

use std::fs;

use banger_core::domain::Digest;
use serde_json::Value;

use super::{Twins, configured};
use crate::e2e::environment::Environment;

const ARCHIVES: &str = "
    0 same --json image pull oci-archive:OCI --name one
    0 both image show one
    0 same -q image pull docker-archive:DOCKER --name two
    0 both image show two
    0 same -q image pull rootfs-tar:TREE --name three
    0 both image show three
    0 same -q image pull rootfs-tar:TREE
    4 both -q image pull rootfs-tar:TREE --name three
    4 both image pull rootfs-tar:/nowhere --name three
    3 both image pull oci-archive:OCI:nothing --name x
    3 both image pull docker-archive:DOCKER:nothing --name x
    3 both image pull oci:LAYOUT:nothing --name x
    8 both -q image pull docker-archive:JUNK --name x
    8 both -q image pull oci-archive:JUNK --name x
    8 both -q image pull oci:DIRECTORY --name x
    8 both -q image pull rootfs-tar:JUNK --name x
    9 both -q image pull rootfs-tar:DIRECTORY --name x
    3 both image pull rootfs-tar:/nowhere --name x
    3 both image pull oci-archive:/nowhere --name x
    3 both image pull docker-archive:/nowhere --name x
    3 both image pull oci:/nowhere --name x
    2 both -q image pull oci-archive:OCI --name x --size 1M
    0 both image list";
const KERNELS: &str = "
    0 same --json kernel import KERNEL --name plain
    0 both kernel show plain
    4 both -q kernel import KERNEL --name plain
    4 both -q kernel import /nowhere --name plain
    0 same --json kernel import file:KBUNDLE
    0 both kernel show linux
    0 same -q kernel import file:KBUNDLE --name pinned
    3 both kernel import /nowhere --name x
    3 both kernel import deb:/nowhere --name x
    3 both kernel import file:/nowhere --name x
    8 both -q kernel import JUNK --name x
    8 both -q kernel import deb:JUNK --name x
    8 both -q kernel import file:JUNK --name x
    8 both -q kernel import file:KBUNDLE@WRONG --name x
    0 both kernel list";
const BUNDLES: &str = "
    0 same --json image pull file:BUNDLE
    0 both image show small
    4 both -q image pull file:BUNDLE --name small
    0 same -q image pull file:BUNDLE@DIGEST --name again
    0 both image show again
    8 both -q image pull file:BUNDLE@WRONG --name x
    8 both -q image pull file:JUNK --name x
    3 both image pull file:/nowhere --name x
    3 both -q image pull file:BARE --name bare
    9 both -q image pull file:KBUNDLE --name x
    3 both -q image pull file:BARE --name bare --kernel nothing
    0 both image list";
const CATALOG: &str = "
    2 both image pull nothing
    0 same --json image pull golden
    0 both image show golden
    4 both -q image pull golden
    0 same -q image pull golden --name other
    3 both -q image pull golden --name third --kernel nothing
    0 same -q image delete other";

/// Files that are neither's own, and what they are called in scenes.
fn files() -> (Environment, Vec<(&'static str, String)>) {
    let shared = Environment::with_image();
    let root = &shared.root;
    let mut words = Vec::new();
    for (word, format) in [
        ("OCI", "oci-archive"),
        ("DOCKER", "docker-archive"),
        ("TREE", "rootfs-tar"),
    ] {
        let file = root.join(format);
        let line = ["image", "save", "small", "--format", format, "-o"];
        shared.must(&[&line[..], &[file.as_str()]].concat());
        words.push((word, file.to_string()));
    }
    let kernel = shared.must(&["--json", "kernel", "list"]);
    let kernel: Value = serde_json::from_str(&kernel).unwrap();
    let name = kernel[0]["name"].as_str().unwrap();
    let vmlinux = kernel[0]["boot"]["kernel"].as_str().unwrap().to_owned();
    words.push(("KERNEL", vmlinux));
    for (word, line) in [
        ("BUNDLE", ["image", "bundle", "small", "-o"].as_slice()),
        (
            "BARE",
            &["image", "bundle", "small", "--without-kernel", "-o"],
        ),
        ("KBUNDLE", &["kernel", "bundle", name, "-o"]),
    ] {
        let file = root.join(word.to_lowercase());
        shared.must(&[line, &[file.as_str()]].concat());
        words.push((word, file.to_string()));
    }
    let junk = root.join("junk");
    fs::write(&junk, vec![7; 70_000]).unwrap();
    words.push(("JUNK", junk.to_string()));
    let directory = root.join("directory");
    fs::create_dir(&directory).unwrap();
    words.push(("DIRECTORY", directory.to_string()));
    words.push(("LAYOUT", shared.testbed.join("busybox").to_string()));
    (shared, words)
}

impl Twins {
    /// Plays scenes in whose words there are others.
    fn play_with(&self, scenes: &str, words: &[(&str, String)]) {
        let mut scenes = scenes.to_owned();
        let mut words: Vec<_> = words.iter().collect();
        // the longer ones hold shorter ones
        words.sort_by_key(|(word, _)| std::cmp::Reverse(word.len()));
        for (word, other) in words {
            scenes = scenes.replace(word, other);
        }
        self.play(&scenes, &[]);
    }

    /// Nothing of what was sent is left.
    pub(super) fn assert_nothing_is_left(&self) {
        let uploads = self.remote.root.join("cache/uploads");
        assert_eq!(uploads.read_dir_utf8().unwrap().count(), 0);
    }
}

#[test]
fn archives_are_sent_to_a_service() {
    let (_shared, words) = files();
    let twins = Twins::with_image();
    twins.play_with(ARCHIVES, &words);
    let (_, tree) = words.iter().find(|(word, _)| *word == "TREE").unwrap();
    let bytes = fs::read(tree).unwrap();
    let line = ["--json", "image", "pull", "rootfs-tar:-", "--name", "piped"];
    twins.same_with(&line, 0, &bytes);
    twins.both(&["image", "show", "piped"], 0);
    let line = ["-q", "image", "pull", "rootfs-tar:-", "--name", "x"];
    twins.same_with(&line, 8, b"");
    twins.same_with(&line, 8, b"no tar file");
    twins.assert_nothing_is_left();
    twins.agree();
}

#[test]
fn kernels_are_sent_to_a_service() {
    let (_shared, mut words) = files();
    words.push(("WRONG", Digest::of(b"wrong").to_string()));
    let twins = Twins::start();
    twins.play_with(KERNELS, &words);
    twins.assert_nothing_is_left();
    twins.agree();
}

#[test]
fn bundles_are_sent_to_a_service_and_catalogs_are_its_own() {
    let (_shared, mut words) = files();
    let (_, bundle) = words.iter().find(|(word, _)| *word == "BUNDLE").unwrap();
    let digest = Digest::of(&fs::read(bundle).unwrap()).to_string();
    words.push(("DIGEST", digest));
    words.push(("WRONG", Digest::of(b"wrong").to_string()));
    let twins = Twins::start();
    twins.play_with(BUNDLES, &words);
    twins.assert_nothing_is_left();
    twins.agree();

    let twins = configured(|environment| {
        let golden = environment.testbed.join("golden-image");
        format!("[[catalogs]]\nname = \"golden\"\nsource = \"file:{golden}/catalog.json\"\n")
    });
    twins.play_with(CATALOG, &[]);
    let run = ["-q", "vm", "run", "--rm", "golden", "--", "echo", "up"];
    assert_eq!(twins.same(&run, 0).stdout, "up\n");
    twins.agree();
}

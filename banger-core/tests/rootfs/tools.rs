//! Layouts that buildah, umoci and skopeo made become images here, and saved
//! images become containers there.
//!
//! buildah keeps everything below the test's own directory.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use banger_core::{
    domain::{Bytes, Image},
    image::{PullRequest, SaveFormat, SaveOutput, SaveRequest},
    kernel::{KernelPaths, KernelSelection},
    local::Local,
    progress::NoProgress,
};
use camino::{Utf8Path, Utf8PathBuf};

use super::{
    fixture::{Bench, must, run},
    saving::{local, tree},
    snapshot::{Snapshot, snapshot},
    umoci::{difference, unpacked},
};

/// The owner of the files, who is neither root nor the tests' user.
const OWNER: u32 = 1234;

/// Pulls an image and answers it with the tree on its disk.
async fn pull(bench: &Bench, banger: &Local, reference: &str, name: &str) -> (Image, Snapshot) {
    let kernel = bench.path("vmlinux");
    fs::write(&kernel, vmlinux()).unwrap();
    let request = PullRequest {
        reference: reference.parse().unwrap(),
        name: Some(name.parse().unwrap()),
        kernel: KernelSelection {
            name: None,
            paths: KernelPaths {
                kernel: Some(kernel),
                ..KernelPaths::default()
            },
        },
        size: Some(Bytes::from_mib(64)),
        containerfile: None,
    };
    let image = banger.images.pull(request, &NoProgress).await;
    let image = image.unwrap_or_else(|error| panic!("{reference}: {error:?}"));
    let tree = tree(bench, &image.rootfs);
    (image, tree)
}

/// The start of a kernel, which nobody boots here.
fn vmlinux() -> Vec<u8> {
    let mut kernel = b"\x7fELF\x02\x01".to_vec();
    kernel.resize(64, 0);
    kernel[18] = 62;
    kernel
}

/// Puts files of many kinds below a directory.
fn furnish(root: &Utf8Path) {
    for directory in ["bin", "etc", "usr/share"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    must("cp", &["/bin/busybox", root.join("bin/busybox").as_str()]);
    fs::write(root.join("etc/greeting"), "hello\n").unwrap();
    fs::write(root.join("etc/gone"), "a later layer removes it").unwrap();
    fs::write(root.join("usr/share/large"), vec![7; 3_000_000]).unwrap();
    fs::hard_link(
        root.join("usr/share/large"),
        root.join("usr/share/large-again"),
    )
    .unwrap();
    std::os::unix::fs::symlink("/etc/greeting", root.join("usr/share/link")).unwrap();
    std::os::unix::fs::chown(root.join("usr/share"), Some(OWNER), Some(OWNER)).unwrap();
    let mode = fs::Permissions::from_mode(0o4711);
    fs::set_permissions(root.join("bin/busybox"), mode).unwrap();
}

/// Fails unless the files of [`furnish`] and of a later layer are there, so
/// that trees that are equal are not equally wrong.
fn assert_furnished(tree: &Snapshot) {
    assert!(!tree.contains_key(Path::new("etc/gone")));
    let of = |path: &str| tree.get(Path::new(path)).unwrap();
    assert_eq!(of("bin/busybox").mode, 0o4711);
    assert_eq!(of("usr/share").owner, (OWNER, OWNER));
    assert_eq!(of("usr/share/link").kind, "link to /etc/greeting");
    let again = &of("usr/share/large-again").same_as;
    assert!(again.is_some() && *again == of("usr/share/large").same_as);
    assert!(of("etc/greeting").kind.starts_with("file of 6 bytes"));
    assert!(of("etc/later").kind.starts_with("file of 5 bytes"));
}

/// A layout of umoci's with the image `two`, of two layers: a repacked tree,
/// and one more file and one less.
fn layout_of_umoci(bench: &Bench) -> Utf8PathBuf {
    let [layout, bundle, later] =
        ["by-umoci", "umoci-bundle", "later"].map(|name| bench.path(name));
    let umoci = |line: &[&str]| must("umoci", line);
    umoci(&["init", "--layout", layout.as_str()]);
    let [one, two] = ["one", "two"].map(|tag| format!("{layout}:{tag}"));
    umoci(&["new", "--image", &one]);
    umoci(&["unpack", "--image", &one, bundle.as_str()]);
    furnish(&bundle.join("rootfs"));
    umoci(&["repack", "--image", &one, bundle.as_str()]);
    fs::write(&later, "later").unwrap();
    umoci(&[
        "insert",
        "--image",
        &one,
        "--tag",
        "two",
        later.as_str(),
        "/etc/later",
    ]);
    umoci(&["insert", "--image", &two, "--whiteout", "/etc/gone"]);
    let command = ["config", "--image", &two, "--config.cmd", "/bin/busybox"];
    umoci(&command);
    layout
}

fn skopeo(from: &str, to: &str) {
    let copy = ["--insecure-policy", "copy", "--quiet", from, to];
    must("skopeo", &copy);
}

/// buildah with a storage of its own.
struct Buildah {
    storage: Vec<String>,
}

impl Buildah {
    fn new(bench: &Bench) -> Self {
        let [graph, runroot] = ["graph", "runroot"].map(|name| bench.path(name));
        let (graph, runroot) = (graph.as_str(), runroot.as_str());
        let places = ["--root", graph, "--runroot", runroot];
        let driver = ["--storage-driver", "vfs", "--log-level=error"];
        let words = places.into_iter().chain(driver);
        Self {
            storage: words.map(str::to_owned).collect(),
        }
    }

    /// Runs it and answers its last word.
    fn tell(&self, line: &[&str]) -> String {
        let storage = self.storage.iter().map(String::as_str);
        let line: Vec<&str> = storage.chain(line.iter().copied()).collect();
        let output = run("buildah", &line);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "buildah {line:?}: {errors}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.trim().lines().last().unwrap_or_default().to_owned()
    }

    /// The tree of an image as a container has it, and its command.
    fn container(&self, reference: &str) -> (Snapshot, String) {
        let image = self.tell(&["pull", "--quiet", reference]);
        let container = self.tell(&["from", "--pull-never", &image]);
        let mounted = self.tell(&["mount", &container]);
        let tree = snapshot(Path::new(&mounted));
        self.tell(&["umount", &container]);
        let template = "{{.OCIv1.Config.Cmd}}";
        let line = ["inspect", "--type", "image", "--format", template, &image];
        (tree, self.tell(&line))
    }
}

/// A layout of buildah's with the image `two`, made as [`layout_of_umoci`].
fn layout_of_buildah(bench: &Bench, buildah: &Buildah) -> Utf8PathBuf {
    let tree = bench.path("tree");
    fs::create_dir(&tree).unwrap();
    furnish(&tree);
    let first = buildah.tell(&["from", "scratch"]);
    let mounted = buildah.tell(&["mount", &first]);
    must("cp", &["-a", &format!("{tree}/."), &mounted]);
    buildah.tell(&["umount", &first]);
    buildah.tell(&["config", "--cmd", "/bin/busybox", &first]);
    let one = buildah.tell(&["commit", "--quiet", &first]);
    let second = buildah.tell(&["from", "--pull-never", &one]);
    let later = bench.path("later-of-buildah");
    fs::write(&later, "later").unwrap();
    buildah.tell(&["copy", "--quiet", &second, later.as_str(), "/etc/later"]);
    let remove = ["/bin/busybox", "rm", "/etc/gone"];
    let line = ["run", "--isolation", "chroot", &second, "--"];
    buildah.tell(&[&line[..], &remove].concat());
    let two = buildah.tell(&["commit", "--quiet", &second]);
    let layout = bench.path("by-buildah");
    buildah.tell(&["push", "--quiet", &two, &format!("oci:{layout}:two")]);
    layout
}

fn take_root_time(tree: &mut Snapshot, from: &Snapshot) {
    let root = Path::new("");
    tree.get_mut(root).unwrap().mtime = from.get(root).unwrap().mtime;
}

#[tokio::test]
async fn layouts_of_umoci_skopeo_and_buildah_become_images() {
    let bench = Bench::new();
    let banger = local(&bench).await;
    let by_umoci = format!("{}:two", layout_of_umoci(&bench));
    let archive = format!("docker-archive:{}", bench.path("archive"));
    let by_skopeo = format!("{}:two", bench.path("by-skopeo"));
    skopeo(&format!("oci:{by_umoci}"), &archive);
    skopeo(&archive, &format!("oci:{by_skopeo}"));
    let by_buildah = layout_of_buildah(&bench, &Buildah::new(&bench));
    let by_buildah = format!("{by_buildah}:two");
    for (name, layout) in [
        ("umoci", by_umoci),
        ("skopeo", by_skopeo),
        ("buildah", by_buildah),
    ] {
        let (image, found) = pull(&bench, &banger, &format!("oci:{layout}"), name).await;
        assert_furnished(&found);
        assert_eq!(image.run_config.cmd, ["/bin/busybox"], "{name}");
        let mut expected = unpacked(&bench, &layout);
        if name == "buildah" {
            // its layers lack the root, which is as old as the image here
            take_root_time(&mut expected, &found);
        }
        assert_eq!(difference(&found, &expected), None, "{name}");
        fs::remove_dir_all(bench.path("bundle")).unwrap();
    }
}

#[tokio::test]
async fn saved_images_become_containers_of_buildah() {
    let bench = Bench::new();
    let banger = local(&bench).await;
    let layout = layout_of_umoci(&bench);
    let (_, expected) = pull(&bench, &banger, &format!("oci:{layout}:two"), "mine").await;
    let buildah = Buildah::new(&bench);
    for format in [SaveFormat::OciArchive, SaveFormat::DockerArchive] {
        let archive = bench.path(format.as_str());
        let request = SaveRequest {
            format,
            output: SaveOutput::File(archive.clone()),
        };
        let saved = banger.images.save(&"mine".into(), request).await;
        saved.unwrap();
        let reference = format!("{}:{archive}", format.as_str());
        let (mut found, command) = buildah.container(&reference);
        assert_furnished(&found);
        // the root of a container is as old as the container
        take_root_time(&mut found, &expected);
        assert_eq!(difference(&found, &expected), None, "{format:?}");
        assert_eq!(command, "[/bin/busybox]");
        let copy = format!("{}-copy", bench.path(format.as_str()));
        skopeo(&reference, &format!("oci:{copy}:copy"));
        let (_, copied) = pull(
            &bench,
            &banger,
            &format!("oci:{copy}:copy"),
            format.as_str(),
        )
        .await;
        assert_eq!(difference(&copied, &expected), None, "{format:?}");
    }
}

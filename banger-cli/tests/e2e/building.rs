//! Building images from others, in real guests.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output, Stdio},
};

use banger_core::image::{debian_base_packages, packages_hash, packages_metadata_path};
use camino::Utf8Path;

use super::environment::{Environment, entries, eventually, wait_for_line};

fn environment_with_debian() -> Environment {
    let environment = Environment::with_kernel();
    let reference = environment.layout("debian", "bookworm");
    environment.must(&["image", "pull", &reference, "--name", "debian"]);
    environment
}

pub(crate) fn json(environment: &Environment, image: &str) -> serde_json::Value {
    let text = environment.must(&["--json", "image", "show", image]);
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn tool(program: &str, arguments: &[&str]) -> Output {
    #[expect(clippy::disallowed_methods, reason = "a tool that knows better")]
    let output = Command::new(program).args(arguments).output();
    output.unwrap_or_else(|_| panic!("{program} is needed: use `cargo xtask test`"))
}

pub(crate) fn assert_clean(disk: &str) {
    let checked = tool("e2fsck", &["-fn", disk]);
    assert!(checked.status.success(), "{checked:?}");
}

pub(crate) fn write_inputs(root: &Utf8Path) {
    fs::create_dir_all(root.join("tree/sub")).unwrap();
    fs::write(
        root.join("tree/sub/program"),
        "#!/bin/sh\necho from the host\n",
    )
    .unwrap();
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(root.join("tree/sub/program"), mode).unwrap();
    std::os::unix::fs::symlink("sub/program", root.join("tree/link")).unwrap();
    fs::write(root.join("motd"), "built\n").unwrap();
    let script = "echo \"plain script as $(id -un) in $(pwd)\"\necho >/from-script\n";
    fs::write(root.join("plain.sh"), script).unwrap();
    fs::write(
        root.join("perl.pl"),
        "#!/usr/bin/perl\nprint \"perl says $$\\n\";\n",
    )
    .unwrap();
}

/// Builds `dev` of `debian` with a little of everything that needs no network.
fn build_dev(environment: &Environment) -> Output {
    let root = &environment.root;
    write_inputs(root);
    let line = "image build --from-image debian --name dev --size 3G --no-base-packages --no-mise \
        --no-tmux-plugins --no-opencode";
    let files = format!(
        "--copy {root}/tree:/opt/tree --copy {root}/motd:/etc/ --script {root}/plain.sh \
        --script {root}/perl.pl"
    );
    let mut words: Vec<&str> = line.split(' ').chain(files.split(' ')).collect();
    words.retain(|word| !word.is_empty());
    words.extend([
        "--run",
        "chmod 640 /etc/motd; echo kept >\"$HOME/kept\"; \
        test $(df --output=size -m / | tail -1) -gt 2500",
    ]);
    environment.run(&words)
}

#[test]
fn an_image_is_built_from_another_one_and_boots() {
    let environment = environment_with_debian();
    let base = json(&environment, "debian");
    let base_disk = fs::read(base["rootfs"].as_str().unwrap()).unwrap();
    let output = build_dev(&environment);
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"dev\n");
    for expected in [
        "plain script as root in /\n",
        "perl says ",
        "banger: script ",
    ] {
        assert!(said.contains(expected), "{said}");
    }
    let image = json(&environment, "dev");
    assert_record(&image, &base);
    assert_files(&image);
    assert_eq!(entries(&environment.state().join("build-logs")), [""; 0]);
    let now = fs::read(base["rootfs"].as_str().unwrap()).unwrap();
    assert!(now == base_disk, "the base was changed");
    let checks = "set -e; /opt/tree/link; stat -c '%U %a' /opt/tree/sub/program /etc/motd; \
        cat /root/kept; test -e /from-script; test ! -e /run/banger/script; \
        test -d /lib/modules/$(uname -r)/kernel";
    let checked = environment.must(&["vm", "run", "--rm", "dev", "--", "sh", "-c", checks]);
    assert_eq!(checked, "from the host\nroot 755\nroot 640\nkept\n");
    environment.assert_no_vm_left();
}

fn assert_record(image: &serde_json::Value, base: &serde_json::Value) {
    assert_eq!(image["origin"]["kind"], "built");
    assert_eq!(image["origin"]["base"]["id"], base["id"]);
    let input = image["origin"]["input"].as_str().unwrap();
    assert!(input.starts_with("sha256:"), "{input}");
    assert_eq!(image["package_hash"], serde_json::Value::Null);
    assert_eq!(image["apparent_bytes"], 3_u64 << 30);
    assert_eq!(image["run_config"], base["run_config"]);
    assert_eq!(image["kernel_name"], base["kernel_name"]);
}

fn assert_files(image: &serde_json::Value) {
    assert_clean(image["rootfs"].as_str().unwrap());
    let directory = Utf8Path::new(image["artifact_directory"].as_str().unwrap());
    let mut files = entries(directory);
    files.sort();
    assert_eq!(files, ["build.log", "modules", "rootfs.ext4", "vmlinux"]);
    let log = fs::read_to_string(directory.join("build.log")).unwrap();
    assert!(
        log.contains("[image build] script ") && log.contains("perl says"),
        "{log}"
    );
}

#[test]
fn a_failed_step_leaves_its_log_and_nothing_else() {
    let environment = environment_with_debian();
    let line = ["image", "build", "--from-image", "debian", "--name", "dev"];
    let with = |more: &[&'static str]| [&line[..], more].concat();
    let told = environment.refused(&with(&["--bare", "--run", "echo why; exit 7"]), 1);
    let log = environment.state().join("build-logs/dev.log");
    for expected in [
        "at command echo why; exit 7: exit status 7",
        log.as_str(),
        "why\n",
    ] {
        assert!(told.contains(expected), "{told}");
    }
    let logged = fs::read_to_string(&log).unwrap();
    assert!(
        logged.contains("[image build] command echo why") && logged.contains("\nwhy\n"),
        "{logged}"
    );
    // the image of the tests has no apt
    let told = environment.refused(&with(&["--no-modules"]), 1);
    assert!(
        told.contains("at installing banger's parts: exit status 69"),
        "{told}"
    );
    assert!(told.contains("leave them out with --bare"), "{told}");
    let logged = fs::read_to_string(&log).unwrap();
    assert!(
        logged.contains("base packages needs apt-get, which this image lacks"),
        "{logged}"
    );
    let told = environment.refused(
        &with(&["--bare", "--timeout", "20", "--run", "sleep 600"]),
        6,
    );
    assert!(
        told.contains("was at command sleep 600") && told.contains("--timeout"),
        "{told}"
    );
    let told = environment.refused(&with(&["--bare", "--size", "16M"]), 2);
    assert!(told.contains("the image's own disk has"), "{told}");
    let told = environment.refused(&with(&["--copy", "/nowhere:/a", "--script", "/gone"]), 2);
    assert!(
        told.contains("/nowhere") && told.contains("/gone"),
        "{told}"
    );
    let told = environment.refused(
        &["image", "build", "--from-image", "none", "--name", "x"],
        3,
    );
    assert!(told.contains("none"), "{told}");
    assert_eq!(environment.names("image"), ["debian"]);
    assert_eq!(entries(&environment.state().join("images")).len(), 1);
    environment.assert_no_vm_left();
}

/// Stands in for apt, which wants a network: writes down what it is asked for.
const APT: &str = "#!/bin/sh\necho \"$DEBIAN_FRONTEND $*\" >>/root/apt.log\n";

#[test]
fn packages_are_installed_in_order_and_their_hash_is_kept() {
    let environment = environment_with_debian();
    let apt = environment.root.join("apt");
    fs::write(&apt, APT).unwrap();
    fs::set_permissions(&apt, fs::Permissions::from_mode(0o755)).unwrap();
    let copy = format!("{apt}:/usr/bin/apt-get");
    let build = |base: &str, name: &str, more: &[&str]| {
        let line = ["image", "build", "--from-image", base, "--name", name];
        environment.must(&[&line[..], more].concat());
        json(&environment, name)
    };
    let filled = "dd if=/dev/urandom of=/big bs=1M count=200 && sync && rm /big";
    let with_apt = build(
        "debian",
        "with-apt",
        &["--bare", "--copy", &copy, "--run", filled],
    );
    assert_eq!(with_apt["package_hash"], serde_json::Value::Null);
    let on_disk = |image: &serde_json::Value| image["on_disk_bytes"].as_u64().unwrap();
    let most = on_disk(&json(&environment, "debian")) + (64 << 20);
    assert!(on_disk(&with_apt) < most, "{with_apt}");
    let only_packages = [
        "--no-mise",
        "--no-tmux-plugins",
        "--no-opencode",
        "--no-modules",
    ];
    let dev = build("with-apt", "dev", &only_packages);
    let hash = packages_hash();
    assert_eq!(dev["package_hash"], hash.as_str());
    let rootfs = Utf8Path::new(dev["rootfs"].as_str().unwrap());
    let beside = fs::read_to_string(packages_metadata_path(rootfs)).unwrap();
    assert_eq!(beside, format!("{hash}\n"));
    let log = environment.must(&["image", "cat", "dev", "/root/apt.log"]);
    let packages = debian_base_packages().join(" ");
    assert!(
        log.contains(&format!("--no-install-recommends {packages}\n")),
        "{log}"
    );
    assert!(
        log.lines().all(|line| line.starts_with("noninteractive ")),
        "{log}"
    );
    let heir = build("dev", "heir", &["--bare"]);
    assert_eq!(heir["package_hash"], hash.as_str());
    assert_ne!(heir["origin"]["input"], dev["origin"]["input"]);
    environment.assert_no_vm_left();
}

/// What a signal and a kill leave: nothing, once the next command has run.
#[test]
fn a_build_that_is_given_up_or_killed_leaves_nothing() {
    let environment = Environment::with_image();
    for signal in ["-INT", "-KILL"] {
        let mut build = environment
            .direct(&[
                "image",
                "build",
                "--from-image",
                "small",
                "--name",
                "dev",
                "--bare",
                "--run",
                "echo begun >/begun; echo begun; sleep 600",
            ])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _open = wait_for_line(&mut build, "begun");
        tool("kill", &[signal, &build.id().to_string()]);
        let status = build.wait().unwrap();
        assert!(!status.success(), "{signal}");
        eventually("no process is left", || environment.processes().is_empty());
        assert_eq!(environment.names("image"), ["small"]);
        assert_eq!(
            entries(&environment.state().join("images")).len(),
            1,
            "{signal}"
        );
        environment.assert_no_vm_left();
    }
}

/// The base is replaced under its name, and the packages' hash is of another day.
#[test]
fn an_image_says_when_its_base_was_replaced() {
    let environment = Environment::with_image();
    let build = [
        "image",
        "build",
        "--from-image",
        "small",
        "--name",
        "dev",
        "--bare",
    ];
    environment.must(&build);
    assert_eq!(json(&environment, "dev")["stale"], serde_json::json!([]));
    environment.must(&["image", "delete", "small"]);
    assert_eq!(json(&environment, "dev")["stale"], serde_json::json!([]));
    let reference = environment.layout("busybox", "latest");
    environment.must(&["image", "pull", &reference, "--name", "small"]);
    assert_eq!(
        json(&environment, "dev")["stale"],
        serde_json::json!(["base"])
    );
    assert!(
        environment
            .must(&["image", "list"])
            .contains("built from small (stale)")
    );
}

#[test]
fn of_two_builds_of_one_name_one_keeps_it() {
    let environment = Environment::with_image();
    let build = || {
        let line = ["image", "build", "--from-image", "small", "--name", "dev"];
        let mut build = environment.direct(&[&line[..], &["--bare"]].concat());
        build.stderr(Stdio::null()).spawn().unwrap()
    };
    let mut statuses = [build(), build()].map(|mut build| build.wait().unwrap().code());
    statuses.sort_unstable();
    assert_eq!(statuses, [Some(0), Some(4)]);
    assert_eq!(environment.names("image"), ["dev", "small"]);
    assert_eq!(entries(&environment.state().join("images")).len(), 2);
    environment.assert_no_vm_left();
}

//! Building images: in real guests, and with a real buildah.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output, Stdio},
};

use camino::Utf8Path;

use super::environment::{Environment, entries, eventually, wait_for_line};

fn environment_with_debian() -> Environment {
    let environment = Environment::with_kernel();
    let reference = environment.layout("debian", "bookworm");
    environment.must(&["image", "pull", &reference, "--name", "debian"]);
    environment
}

fn json(environment: &Environment, image: &str) -> serde_json::Value {
    let text = environment.must(&["--json", "image", "show", image]);
    serde_json::from_str(&text).unwrap()
}

fn tool(program: &str, arguments: &[&str]) -> Output {
    #[expect(clippy::disallowed_methods, reason = "a tool that knows better")]
    let output = Command::new(program).args(arguments).output();
    output.unwrap_or_else(|_| panic!("{program} is needed: use `cargo xtask test`"))
}

fn assert_clean(disk: &str) {
    let checked = tool("e2fsck", &["-fn", disk]);
    assert!(checked.status.success(), "{checked:?}");
}

fn write_inputs(root: &Utf8Path) {
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

#[test]
fn an_image_is_built_from_another_one_and_boots() {
    let environment = environment_with_debian();
    let root = environment.root.clone();
    write_inputs(&root);
    let base = json(&environment, "debian");
    let base_disk = fs::read(base["rootfs"].as_str().unwrap()).unwrap();
    let output = environment.run(&[
        "image",
        "build",
        "--from-image",
        "debian",
        "--name",
        "dev",
        "--size",
        "3G",
        "--no-base-packages",
        "--no-mise",
        "--no-tmux-plugins",
        "--no-opencode",
        "--copy",
        &format!("{root}/tree:/opt/tree"),
        "--copy",
        &format!("{root}/motd:/etc/"),
        "--script",
        &format!("{root}/plain.sh"),
        "--script",
        &format!("{root}/perl.pl"),
        "--run",
        "chmod 640 /etc/motd; echo kept >/root/kept; df -m / | tail -1",
        "--run",
        "test -d /lib/modules/$(uname -r)/kernel && modinfo -n ext4 || ls /lib/modules",
    ]);
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
    assert_eq!(image["origin"]["kind"], "built");
    assert_eq!(image["origin"]["base"]["id"], base["id"]);
    assert!(
        image["origin"]["input"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
    assert_eq!(image["package_hash"], serde_json::Value::Null);
    assert_eq!(image["apparent_bytes"], 3_u64 << 30);
    assert_eq!(image["run_config"], base["run_config"]);
    let disk = image["rootfs"].as_str().unwrap();
    assert_clean(disk);
    let directory = Utf8Path::new(image["artifact_directory"].as_str().unwrap());
    let mut files = entries(directory);
    files.sort();
    assert_eq!(files, ["build.log", "modules", "rootfs.ext4", "vmlinux"]);
    let log = fs::read_to_string(directory.join("build.log")).unwrap();
    assert!(
        log.contains("[image build] script ") && log.contains("perl says"),
        "{log}"
    );
    assert_eq!(entries(&environment.state().join("build-logs")), [""; 0]);
    let now = fs::read(base["rootfs"].as_str().unwrap()).unwrap();
    assert!(now == base_disk, "the base was changed");
    let checks = "set -e; /opt/tree/link; stat -c '%U %a' /opt/tree/sub/program /etc/motd; \
        cat /root/kept; test -e /from-script; test ! -e /run/banger/script; \
        test -d /lib/modules/$(uname -r)/kernel; df -m / | tail -1";
    let checked = environment.must(&["vm", "run", "--rm", "dev", "--", "sh", "-c", checks]);
    assert!(
        checked.starts_with("from the host\nroot 755\nroot 640\nkept\n"),
        "{checked}"
    );
    environment.assert_no_vm_left();
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
    // no network: apt finds nothing to install
    let told = environment.refused(&with(&["--no-modules"]), 1);
    assert!(
        told.contains("at installing banger's parts: exit status 100"),
        "{told}"
    );
    let logged = fs::read_to_string(&log).unwrap();
    assert!(
        logged.contains("== installing the base packages\n"),
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

/// The working directories and images of buildah, apart from the user's own.
fn with_own_storage<'a>(environment: &Environment, command: &'a mut Command) -> &'a mut Command {
    let root = &environment.root;
    let storage = root.join("storage.conf");
    let text = format!(
        "[storage]\ndriver = \"vfs\"\ngraphroot = \"{root}/graph\"\nrunroot = \"{root}/runroot\"\n"
    );
    fs::write(&storage, text).unwrap();
    command
        .env("CONTAINERS_STORAGE_CONF", storage)
        .env("BUILDAH_ISOLATION", "chroot")
}

/// A context whose image is busybox and a file, made without any network.
fn write_context(root: &Utf8Path) {
    fs::create_dir_all(root.join("context")).unwrap();
    let busybox = root.join("context/busybox");
    let copied = tool("cp", &["/bin/busybox", busybox.as_str()]);
    assert!(copied.status.success(), "install package busybox-static");
    fs::write(root.join("context/greeting"), "hello\n").unwrap();
    let file = "FROM scratch AS first\nCOPY busybox /bin/busybox\n\
        RUN [\"/bin/busybox\", \"ln\", \"-s\", \"busybox\", \"/bin/sh\"]\n\
        FROM first\nARG WORD=none\nCOPY greeting /greeting\nENV WORD=$WORD\n\
        RUN echo built >/built\nCMD [\"/bin/busybox\", \"cat\", \"/greeting\"]\n";
    fs::write(root.join("context/Containerfile"), file).unwrap();
}

#[test]
fn a_containerfile_is_built_by_buildah_and_boots() {
    let environment = Environment::with_kernel();
    write_context(&environment.root);
    let context = environment.root.join("context");
    let build = |line: &[&str]| {
        let line = [&["image", "build", context.as_str()], line].concat();
        let mut command = environment.command(&line);
        with_own_storage(&environment, &mut command)
            .output()
            .unwrap()
    };
    let built = build(&["--name", "own", "--build-arg", "WORD=given"]);
    assert!(built.status.success(), "{built:?}");
    assert_eq!(built.stdout, b"own\n");
    let said = String::from_utf8(built.stderr).unwrap();
    assert!(
        said.contains("STEP") && said.contains("with buildah"),
        "{said}"
    );
    let image = json(&environment, "own");
    assert_eq!(image["origin"]["kind"], "containerfile");
    let file = context.join("Containerfile");
    assert_eq!(image["origin"]["containerfile"], file.as_str());
    assert!(
        image["origin"]["manifest"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
    assert_clean(image["rootfs"].as_str().unwrap());
    assert_eq!(environment.must(&["vm", "run", "--rm", "own"]), "hello\n");
    let script = "echo $WORD; /bin/busybox cat /built";
    let ran = environment.must(&["vm", "run", "--rm", "own", "--", "/bin/sh", "-c", script]);
    assert_eq!(ran, "given\nbuilt\n");

    let again = build(&["--name", "own"]);
    assert_eq!(again.status.code(), Some(4), "{again:?}");
    fs::write(&file, "FROM scratch\nCOPY missing /\n").unwrap();
    let failed = build(&["--name", "other", "--builder", "buildah"]);
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    let told = String::from_utf8(failed.stderr).unwrap();
    let log = environment.state().join("build-logs/other.log");
    assert!(
        told.contains(log.as_str()) && told.contains("missing"),
        "{told}"
    );
    assert!(fs::read_to_string(log).unwrap().contains("missing"));
    assert_eq!(environment.names("image"), ["own"]);
    assert_eq!(entries(&environment.state().join("images")).len(), 1);
}

#[test]
fn a_host_without_a_builder_is_told_which_ones_there_are() {
    let environment = Environment::with_kernel();
    write_context(&environment.root);
    let context = environment.root.join("context");
    let refuse = |line: &[&str]| {
        let line = [&["image", "build", context.as_str(), "--name", "own"], line].concat();
        let mut command = environment.direct(&line);
        let output = command.env("PATH", "/nowhere").output().unwrap();
        assert_eq!(output.status.code(), Some(9), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let told = refuse(&[]);
    assert!(
        told.contains("none of buildah, podman, docker is installed"),
        "{told}"
    );
    let told = refuse(&["--builder", "podman"]);
    assert!(told.contains("none of podman is installed"), "{told}");
    let told = environment.refused(&["image", "build", "/nowhere", "--name", "own"], 2);
    assert!(told.contains("/nowhere"), "{told}");
    assert_eq!(entries(&environment.state().join("images")), [""; 0]);
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

//! Building images from Containerfiles, with a real buildah and no network.

use std::{fs, process::Command};

use camino::Utf8Path;

use super::{
    building::{assert_clean, json, tool},
    environment::{Environment, entries, eventually},
};

/// The working directories and images of buildah, apart from the user's own.
pub(crate) fn with_own_storage<'a>(
    environment: &Environment,
    command: &'a mut Command,
) -> &'a mut Command {
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
pub(crate) fn write_context(root: &Utf8Path) {
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
    let run = |line: &[&str]| {
        let line = [&["image", "build", context.as_str()], line].concat();
        let mut command = environment.command(&line);
        with_own_storage(&environment, &mut command)
            .output()
            .unwrap()
    };
    let built = run(&["--name", "own", "--build-arg", "WORD=given"]);
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
    let again = run(&["--name", "own"]);
    assert_eq!(again.status.code(), Some(4), "{again:?}");
    assert_eq!(entries(&environment.state().join("images")).len(), 1);
}

#[test]
fn a_containerfile_that_fails_or_takes_too_long_leaves_its_log() {
    let environment = Environment::with_kernel();
    write_context(&environment.root);
    let file = environment.root.join("context/Containerfile");
    let log = environment.state().join("build-logs/own.log");
    let refuse = |content: &str, timeout: &str, status: i32| {
        fs::write(&file, content).unwrap();
        let line = ["image", "build", "-f", file.as_str(), "--name", "own"];
        let more = ["--builder", "buildah", "--timeout", timeout];
        let mut command = environment.command(&[&line[..], &more].concat());
        let output = with_own_storage(&environment, &mut command).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(log.as_str()), "{told}");
        told
    };
    let told = refuse("FROM scratch\nCOPY missing /\n", "600", 1);
    assert!(told.contains("missing"), "{told}");
    assert!(fs::read_to_string(&log).unwrap().contains("missing"));
    let endless = "FROM scratch\nCOPY busybox /bin/busybox\n\
        RUN [\"/bin/busybox\", \"sleep\", \"98765\"]\n";
    let told = refuse(endless, "8", 6);
    assert!(told.contains("did not end within"), "{told}");
    let sleeps = || {
        tool("pgrep", &["-f", "^/bin/busybox sleep 98765"])
            .status
            .success()
    };
    eventually("no process is left", || !sleeps());
    assert_eq!(environment.names("image"), [""; 0]);
    assert_eq!(entries(&environment.state().join("images")), [""; 0]);
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

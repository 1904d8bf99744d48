//! `vm cp` between real files and a real guest.

use std::{
    fs::{self, File, Permissions},
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    process::{Command, Output, Stdio},
};

use camino::Utf8Path;

use super::environment::{Environment, eventually};

fn tool(program: &str, arguments: &[&str]) -> Output {
    #[expect(clippy::disallowed_methods, reason = "a real tool to compare with")]
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
    output
}

fn tree(root: &Utf8Path) {
    fs::create_dir_all(root.join("deep/empty")).unwrap();
    fs::write(root.join("deep/file"), "content").unwrap();
    fs::hard_link(root.join("deep/file"), root.join("same")).unwrap();
    std::os::unix::fs::symlink("nowhere/at/all", root.join("link")).unwrap();
    let odd = root
        .as_std_path()
        .join(std::ffi::OsStr::from_bytes(b"odd\xff name"));
    fs::write(odd, "odd").unwrap();
    fs::write(root.join("none"), "secret").unwrap();
    for (name, mode) in [("none", 0), ("deep/file", 0o4750), ("deep/empty", 0o1777)] {
        fs::set_permissions(root.join(name), Permissions::from_mode(mode)).unwrap();
    }
}

#[test]
fn tar_files_and_trees_go_both_ways_as_tar_has_them() {
    let environment = Environment::with_image();
    let root = &environment.root;
    environment.must(&[
        "vm", "run", "--detach", "--boot", "agent", "--name", "one", "small",
    ]);
    tree(&root.join("tree"));
    let archive = root.join("tree.tar");
    tool(
        "tar",
        &["-c", "-f", archive.as_str(), "-C", root.as_str(), "tree"],
    );
    let sent = environment
        .command(&["vm", "cp", "--archive", "-", "one:/tmp"])
        .stdin(File::open(&archive).unwrap())
        .output()
        .unwrap();
    assert!(sent.status.success() && sent.stdout.is_empty(), "{sent:?}");
    let back = root.join("back.tar");
    let got = environment
        .command(&["vm", "cp", "one:/tmp/tree", "-"])
        .stdout(File::create(&back).unwrap())
        .output()
        .unwrap();
    assert!(got.status.success() && got.stderr.is_empty(), "{got:?}");
    // tar itself says whether anything differs
    tool(
        "tar",
        &["--compare", "-f", back.as_str(), "-C", root.as_str()],
    );
    let copy = root.join("copy");
    environment.must(&["vm", "cp", "-a", "one:/tmp/tree", copy.as_str()]);
    let differences = tool(
        "diff",
        &[
            "-r",
            "--no-dereference",
            root.join("tree").as_str(),
            copy.as_str(),
        ],
    );
    assert!(differences.stdout.is_empty());
    let sizes = environment.must(&["--json", "vm", "cp", copy.as_str(), "one:/tmp"]);
    let sizes: serde_json::Value = serde_json::from_str(&sizes).unwrap();
    assert_eq!(
        (&sizes["entries"], &sizes["content_bytes"]),
        (&8.into(), &16.into())
    );
    refusals(&environment);
    environment.must(&["vm", "stop", "one"]);
    let message = environment.refused(&["vm", "cp", "one:/tmp", "-"], 4);
    assert!(message.contains("banger vm start one"), "{message}");
}

fn refusals(environment: &Environment) {
    let root = environment.root.as_str();
    let message = environment.refused(&["vm", "cp", "one:/none", root], 3);
    assert!(message.contains("/none"), "{message}");
    let message = environment.refused(&["vm", "cp", root, "one:/etc/passwd"], 2);
    assert!(message.contains("/etc/passwd"), "{message}");
    let message = environment.refused(&["vm", "cp", "a", "b"], 2);
    assert!(message.contains("VM:PATH"), "{message}");
    let cut = environment
        .command(&["vm", "cp", "-", "one:/tmp"])
        .stdin(File::open(environment.root.join("tree/none")).unwrap())
        .output()
        .unwrap();
    assert_eq!(cut.status.code(), Some(2), "{cut:?}");
}

#[test]
fn an_interrupted_copy_leaves_whole_files() {
    let environment = Environment::with_image();
    let root = &environment.root;
    environment.must(&[
        "vm", "run", "--detach", "--boot", "agent", "--name", "one", "small",
    ]);
    let large = root.join("large");
    fs::write(&large, vec![1; 200 << 20]).unwrap();
    environment.must(&["vm", "cp", large.as_str(), "one:/large"]);
    let target = root.join("target");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("large"), "old").unwrap();
    for (source, place) in [
        ("one:/large", target.as_str()),
        (large.as_str(), "one:/large"),
    ] {
        let mut copying = environment
            .direct(&["vm", "cp", source, place])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(400));
        let id = i32::try_from(copying.id()).unwrap();
        let id = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
        assert_eq!(copying.wait().unwrap().code(), Some(130), "{source}");
    }
    assert_eq!(fs::read(target.join("large")).unwrap(), b"old");
    assert_eq!(super::environment::entries(&target), ["large"]);
    eventually("the guest's old file is alone", || {
        let listed = environment.must(&[
            "vm",
            "exec",
            "one",
            "--",
            "sh",
            "-c",
            "ls -A /; stat -c %s /large",
        ]);
        !listed.contains(".banger") && listed.contains("209715200")
    });
}

//! Builds from other images, with a service and without one.

use std::process::Stdio;

use super::{Shown, Twins};
use crate::e2e::{
    building::{json, tool, write_inputs},
    environment::{Environment, entries, eventually, wait_for_line},
};

/// What no two runs say alike.
const OF_ONE_RUN: &str = "perl says ";
/// Steps of a build, as they are told.
const STEPS: [&str; 7] = [
    "reading what goes into ",
    "copying ",
    "script ",
    "command ",
    "installing ",
    "powering off",
    "keeping the disk",
];

impl Twins {
    fn with_debian() -> Self {
        let twins = Self::start();
        let package = format!("deb:{}", twins.remote.testbed.join("kernel/kernel.deb"));
        twins.same(&["-q", "kernel", "import", &package, "--name", "linux"], 0);
        let reference = twins.remote.layout("debian", "bookworm");
        twins.same(&["-q", "image", "pull", &reference, "--name", "debian"], 0);
        twins
    }

    /// Has both fail to build `bad`, in the same words.
    fn fails(&self, more: &[&str], status: i32) -> Shown {
        let line = ["-q", "image", "build", "--name", "bad"];
        self.same(&[&line, more].concat(), status)
    }

    /// Only these images are there, and nothing of machines and builds.
    fn assert_images(&self, names: &[&str]) {
        for environment in [&self.embedded, &self.remote] {
            assert_eq!(environment.names("image"), names);
            let directories = entries(&environment.state().join("images"));
            assert_eq!(directories.len(), names.len(), "{directories:?}");
            assert_eq!(environment.names("vm"), [""; 0]);
            assert_eq!(entries(&environment.state().join("vms")), [""; 0]);
        }
        self.assert_nothing_is_left();
    }
}

/// What a build told: its steps, and what the guest said.
fn told(shown: &Shown) -> Vec<&str> {
    let lines = shown.stderr.lines().filter(|line| {
        let step = line.strip_prefix("banger: ");
        step.map_or(!line.contains(OF_ONE_RUN), |step| {
            STEPS.iter().any(|one| step.starts_with(one))
        })
    });
    lines.collect()
}

#[test]
fn an_image_is_built_from_another_one_alike_with_a_service() {
    let twins = Twins::with_debian();
    let shared = Environment::empty();
    let root = &shared.root;
    write_inputs(root);
    let files = format!(
        "--copy {root}/tree:/opt/tree --copy {root}/motd:/etc/ --copy {root}/motd:/opt/new \
         --script {root}/plain.sh --script {root}/perl.pl"
    );
    let line = "image build --from-image debian --name dev --size 3G --no-base-packages --no-mise \
        --no-tmux-plugins --no-opencode";
    let words = line.split(' ').chain(files.split(' '));
    let mut words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.extend([
        "--run",
        "cat /opt/new; seq 20000; echo kept >\"$HOME/kept\"",
    ]);
    let embedded = super::shown(&twins.embedded.run(&words), &twins.embedded);
    let remote = super::shown(&twins.remote(&words), &twins.remote);
    assert_eq!(remote.status, Some(0), "{remote:?}");
    assert_eq!(embedded.stdout, remote.stdout);
    assert_eq!(told(&embedded), told(&remote));
    for expected in ["plain script as root in /", "built", "20000"] {
        assert!(told(&remote).contains(&expected), "{expected}");
    }
    let images = [&twins.embedded, &twins.remote].map(|one| json(one, "dev"));
    assert_eq!(images[0]["origin"]["kind"], "built");
    for field in [
        "run_config",
        "kernel_name",
        "apparent_bytes",
        "package_hash",
    ] {
        assert_eq!(images[0][field], images[1][field], "{field}");
    }
    assert_eq!(images[0]["origin"]["input"], images[1]["origin"]["input"]);
    let checks = "set -e; /opt/tree/link; stat -c '%U %a' /opt/tree/sub/program; \
        cat /etc/motd /root/kept; test -e /from-script; test ! -e /run/banger/script; \
        test -d /lib/modules/$(uname -r)/kernel";
    let run = ["-q", "vm", "run", "--rm", "dev", "--", "sh", "-c", checks];
    let ran = twins.same(&run, 0);
    assert_eq!(ran.stdout, "from the host\nroot 755\nbuilt\nkept\n");
    assert_eq!(entries(&twins.remote.state().join("build-logs")), [""; 0]);
    twins.same(
        &[
            "-q",
            "image",
            "build",
            "--from-image",
            "debian",
            "--name",
            "dev",
        ],
        4,
    );
    twins.assert_images(&["debian", "dev"]);
    twins.agree();
}

#[test]
fn builds_that_fail_say_the_same_with_a_service() {
    let twins = Twins::with_debian();
    let from = ["--from-image", "debian"];
    let with = |more: &[&'static str]| [&from[..], more].concat();
    let failed = twins.fails(&with(&["--bare", "--run", "echo why; exit 7"]), 1);
    for expected in [
        "at command echo why; exit 7: exit status 7",
        "build-logs/bad.log",
    ] {
        assert!(failed.stderr.contains(expected), "{failed:?}");
    }
    let log = twins.remote.state().join("build-logs/bad.log");
    let logged = std::fs::read_to_string(log).unwrap();
    assert!(logged.contains("\nwhy\n"), "{logged}");
    // the image of the tests has no apt
    let own = twins.fails(&with(&["--no-modules"]), 1);
    assert!(own.stderr.contains("leave them out with --bare"), "{own:?}");
    let late = twins.fails(
        &with(&["--bare", "--timeout", "25", "--run", "sleep 600"]),
        6,
    );
    assert!(late.stderr.contains("with --timeout"), "{late:?}");
    twins.fails(&with(&["--bare", "--size", "16M"]), 2);
    let wrong = [
        "--copy",
        "/nowhere:/a",
        "--copy",
        "/etc/passwd:/etc/..",
        "--script",
        "/gone",
    ];
    let refused = twins.fails(&with(&wrong), 2);
    for expected in ["/nowhere", "/gone", "goes to a path without a name"] {
        assert!(refused.stderr.contains(expected), "{refused:?}");
    }
    // a socket can be told of only when it is met
    let shared = Environment::empty();
    let _socket = std::os::unix::net::UnixListener::bind(shared.root.join("socket")).unwrap();
    let copy = format!("{}:/a", shared.root);
    twins.fails(&[&from[..], &["--bare", "--copy", &copy]].concat(), 1);
    twins.fails(&["--from-image", "none"], 3);
    twins.assert_images(&["debian"]);
    twins.agree();
}

#[test]
fn a_build_whose_client_is_ended_leaves_nothing_at_a_service() {
    let twins = Twins::with_image();
    let script = "echo begun; sleep 600";
    let line = [
        "image",
        "build",
        "--from-image",
        "small",
        "--name",
        "dev",
        "--bare",
    ];
    let line = twins.remotely(&[&line[..], &["--run", script]].concat());
    let mut build = twins
        .remote
        .direct(&line)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _open = wait_for_line(&mut build, "begun");
    // the machine is the service's, and can be seen while it builds
    assert_eq!(twins.remote.names("vm").len(), 1);
    tool("kill", &["-INT", &build.id().to_string()]);
    assert!(!build.wait().unwrap().success());
    eventually("no machine is left", || {
        entries(&twins.remote.state().join("vms")).is_empty()
    });
    twins.assert_images(&["small"]);
    twins.agree();
}

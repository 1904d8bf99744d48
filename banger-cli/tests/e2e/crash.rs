//! The program killed at any moment: the next command repairs what is left.

use std::process::{Child, Stdio};

use super::{
    environment::{Environment, entries, eventually, tree, wait_for_line},
    registry::Registry,
};

/// Kills with SIGKILL; nothing in the program can react to it.
fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn spawn(environment: &Environment, arguments: &[&str]) -> Child {
    environment
        .direct(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_pull_leaves_nothing_that_the_next_command_does_not_repair() {
    let registry = Registry::start();
    let environment = Environment::with_kernel();
    let reference = registry.push(&environment.layout("debian", "bookworm"), "debian:bookworm");
    // a kill at the start, one with a half-written disk, and one at any moment between
    let child = spawn(&environment, &["image", "pull", &reference]);
    kill(child);
    kill_pulls_with_half_a_disk(&environment, &reference);
    environment.must(&["image", "pull", &reference]);
    assert_eq!(environment.names("image"), ["debian-bookworm"]);
    assert_eq!(
        environment.must(&[
            "vm",
            "run",
            "--rm",
            "debian-bookworm",
            "--",
            "cat",
            "/etc/second-layer"
        ]),
        "added\n"
    );
}

/// Kills pulls once their disk is begun; the next command repairs.
fn kill_pulls_with_half_a_disk(environment: &Environment, reference: &str) {
    let images = environment.state().join("images");
    for _ in 0..3 {
        let child = spawn(environment, &["image", "pull", reference]);
        eventually("a staging directory with a disk", || {
            images.exists()
                && tree(&images)
                    .iter()
                    .any(|path| path.file_name() == Some("rootfs.ext4"))
        });
        kill(child);
        assert_eq!(environment.names("image"), [""; 0]);
        assert_eq!(entries(&images), [""; 0], "the next command did not repair");
    }
}

#[test]
fn a_killed_load_of_a_bundle_leaves_nothing_that_the_next_command_does_not_repair() {
    let maker = Environment::with_image();
    let bundle = maker.root.join("small.tar.zst");
    maker.must(&["image", "bundle", "small", "-o", bundle.as_str()]);
    let environment = Environment::empty();
    let reference = format!("file:{bundle}");
    kill_pulls_with_half_a_disk(&environment, &reference);
    environment.must(&["image", "pull", &reference]);
    assert_eq!(environment.names("image"), ["small"]);
}

#[test]
fn a_killed_client_takes_its_machine_along_at_every_stage_of_the_boot() {
    let environment = Environment::with_image();
    let line = [
        "vm", "run", "--rm", "--name", "mine", "small", "--", "sleep", "1000",
    ];
    for stage in ["", "", "", "record", "disk", "disk", "qemu", "ready"] {
        let child = spawn(&environment, &line);
        let has = |name| {
            tree(&environment.state())
                .iter()
                .any(|path| path.file_name() == Some(name))
        };
        match stage {
            "" => {}
            "record" => eventually("a directory", || has("writable.ext4")),
            "disk" => eventually("a made machine", || has("creator.lock")),
            "qemu" => eventually("a machine", || {
                environment
                    .processes()
                    .iter()
                    .any(|line| line.contains("qemu"))
            }),
            _ => eventually("a ready guest", || {
                console(&environment).contains("banger-guest: ready")
            }),
        }
        kill(child);
        eventually("the end of the machine", || {
            environment.processes().is_empty()
        });
        assert_eq!(
            environment.names("vm"),
            [""; 0],
            "killed at stage {stage:?}"
        );
        environment.assert_no_vm_left();
    }
}

/// The console logs of all machines.
fn console(environment: &Environment) -> String {
    let vms = environment.state().join("vms");
    if !vms.exists() {
        return String::new();
    }
    let logs = tree(&vms)
        .into_iter()
        .filter(|path| path.file_name() == Some("console.log"));
    logs.filter_map(|path| std::fs::read(path).ok())
        .map(|log| String::from_utf8_lossy(&log).into_owned())
        .collect()
}

#[test]
fn a_killed_start_ends_in_a_running_or_a_repaired_machine() {
    let environment = Environment::with_image();
    environment.must(&["vm", "create", "--name", "one", "small"]);
    let child = spawn(&environment, &["vm", "start", "one"]);
    eventually("a machine", || {
        environment
            .processes()
            .iter()
            .any(|line| line.contains("qemu"))
    });
    kill(child);
    eventually("a running machine", || {
        environment.vm_state("one") == "running"
    });
    assert_eq!(
        environment.must(&["vm", "exec", "one", "--", "echo", "alive"]),
        "alive\n"
    );
    environment.must(&["vm", "delete", "--force", "one"]);
    environment.assert_no_vm_left();
}

#[test]
fn a_killed_monitor_takes_its_machine_along_and_the_record_says_so() {
    let environment = Environment::with_image();
    environment.must(&[
        "vm", "run", "--detach", "--boot", "agent", "--name", "one", "small",
    ]);
    let mut exec = spawn(
        &environment,
        &[
            "vm",
            "exec",
            "one",
            "--",
            "sh",
            "-c",
            "echo started >&2; sleep 1000",
        ],
    );
    let _reader = wait_for_line(&mut exec, "started");
    let monitor = monitor_pid(&environment);
    rustix::process::kill_process(monitor, rustix::process::Signal::KILL).unwrap();
    assert_eq!(
        exec.wait().unwrap().code(),
        Some(125),
        "an exec whose machine is lost fails as banger's own"
    );
    eventually("the end of the machine", || {
        environment.processes().is_empty()
    });
    assert_eq!(environment.vm_state("one"), "failed");
    environment.must(&["vm", "start", "one"]);
    environment.must(&["vm", "delete", "--force", "one"]);
    environment.assert_no_vm_left();
}

/// The process that is the monitor of the only machine.
fn monitor_pid(environment: &Environment) -> rustix::process::Pid {
    let is_monitor = |entry: &std::fs::DirEntry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains("__monitor") && line.contains(environment.root.as_str())
    };
    let entry = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .find(is_monitor)
        .unwrap();
    let pid = entry.file_name().to_str().unwrap().parse().unwrap();
    rustix::process::Pid::from_raw(pid).unwrap()
}

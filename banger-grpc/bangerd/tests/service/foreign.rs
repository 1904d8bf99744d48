//! A client that is not ours: Python's own gRPC, with stubs made from the protos.

use super::daemon::{Daemon, part};

#[test]
fn reflection_health_and_server_info_answer_their_standard_clients() {
    let daemon = Daemon::start();
    let said = daemon.python("standard", &[]);
    assert!(said.ends_with("done\n"), "{said}");
}

/// The kernel and the image of the test bed.
pub(crate) fn sources() -> (String, String) {
    let testbed = part("BANGER_TESTBED");
    let package = format!("deb:{}", testbed.join("kernel/kernel.deb"));
    let reference = format!("oci:{}:latest", testbed.join("busybox"));
    (package, reference)
}

#[test]
fn commands_files_and_events_survive_what_calls_do_not() {
    let daemon = Daemon::start();
    let (package, reference) = sources();
    let said = daemon.python("guest", &[&package, &reference]);
    assert!(said.ends_with("done\n"), "{said}");
}

#[test]
fn a_machine_is_changed_paused_read_and_kept_alive() {
    let daemon = Daemon::start();
    let (package, reference) = sources();
    let said = daemon.python("life", &[&package, &reference]);
    assert!(said.ends_with("done\n"), "{said}");
}

#[test]
fn a_machine_is_kept_as_it_runs_and_others_go_on_from_there() {
    let daemon = Daemon::start();
    let (package, reference) = sources();
    let said = daemon.python("snapshots", &[&package, &reference]);
    assert!(said.ends_with("done\n"), "{said}");
}

#[test]
fn a_machine_is_made_used_and_removed() {
    let daemon = Daemon::start();
    let (package, reference) = sources();
    let said = daemon.python("machines", &[&package, &reference]);
    assert!(said.ends_with("done\n"), "{said}");
    for directory in ["vms", "images", "kernels"] {
        let left = daemon.root.join("state").join(directory);
        let left = left.read_dir_utf8().unwrap().flatten();
        let left: Vec<_> = left.map(|entry| entry.file_name().to_owned()).collect();
        assert!(left.is_empty(), "{directory}: {left:?}");
    }
}

#[test]
fn the_example_runs_a_command_and_leaves_nothing() {
    let daemon = Daemon::start();
    let (package, reference) = sources();
    daemon.python("provision", &[&package, &reference]);
    let output = daemon
        .example(&["small", "sh", "-c", "echo here; exit 3"])
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{complaint}");
    assert_eq!(output.stdout, b"here\n");
    assert_eq!(daemon.python("listed", &[]), "done\n");
}

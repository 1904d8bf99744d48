//! From a registry to a machine, and back to nothing.

use super::{
    environment::{Environment, entries},
    registry::Registry,
};

#[test]
fn a_debian_from_a_real_registry_runs_and_is_gone() {
    let registry = Registry::start();
    let environment = Environment::with_kernel();
    let reference = registry.push(
        &environment.layout("debian", "bookworm"),
        "library/debian:bookworm",
    );
    let script =
        "cat /etc/second-layer; test ! -e /usr/share/doc && stat -c %a:%u:%g /usr/bin/su; exit 42";
    let output = environment.run(&["vm", "run", "--rm", &reference, "--", "sh", "-c", script]);
    assert_eq!(output.status.code(), Some(42), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "added\n4755:0:0\n");
    environment.assert_no_vm_left();

    let image = environment.must(&["--json", "image", "show", "debian-bookworm"]);
    let image: serde_json::Value = serde_json::from_str(&image).unwrap();
    assert!(image["origin"].to_string().contains(&reference), "{image}");
    let again = environment.must(&["vm", "run", "--rm", &reference, "--", "cat", "/etc/issue"]);
    assert_eq!(again, "banger test image\n");

    environment.must(&["image", "delete", "debian-bookworm"]);
    environment.must(&["kernel", "delete", "linux"]);
    assert_eq!(entries(&environment.state().join("images")), [""; 0]);
    assert_eq!(entries(&environment.state().join("kernels")), [""; 0]);
}

#[test]
fn a_machine_outlives_its_client_and_keeps_its_disk() {
    let environment = Environment::with_image();
    environment.must(&["vm", "create", "--name", "kept", "small"]);
    assert_eq!(environment.vm_state("kept"), "created");
    environment.must(&["vm", "start", "kept"]);
    assert_eq!(environment.vm_state("kept"), "running");
    environment.must(&[
        "vm",
        "exec",
        "kept",
        "--",
        "sh",
        "-c",
        "echo written > /kept; sync",
    ]);
    let logs = environment.must(&["vm", "logs", "kept"]);
    assert!(logs.contains("banger-guest: ready"), "{logs}");

    let message = environment.refused(&["vm", "start", "kept"], 4);
    assert!(message.contains("running"), "{message}");
    let message = environment.refused(&["vm", "delete", "kept"], 4);
    assert!(message.contains("running"), "{message}");
    let message = environment.refused(&["image", "delete", "small"], 4);
    assert!(message.contains("kept"), "{message}");

    environment.must(&["vm", "stop", "kept"]);
    environment.must(&["vm", "stop", "kept"]);
    assert_eq!(environment.vm_state("kept"), "stopped");
    assert_eq!(environment.processes(), [""; 0]);
    let message = environment.refused(&["vm", "exec", "kept", "--", "true"], 125);
    assert!(message.contains("stopped"), "{message}");

    environment.must(&["vm", "start", "kept"]);
    assert_eq!(
        environment.must(&["vm", "exec", "kept", "--", "cat", "/kept"]),
        "written\n"
    );
    environment.must(&["vm", "delete", "--force", "kept"]);
    environment.assert_no_vm_left();
}

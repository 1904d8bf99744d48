//! Machines of commands that are killed, with a service and without one.

use std::{
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{Environment, Service};

/// How long the end of a machine is waited for: a service counts the time of whoever it
/// serves anew when it begins.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long a service lasts while a command lives, and how many do: together far longer
/// than a machine runs for which nobody speaks.
const LASTING: Duration = Duration::from_secs(14);
const SERVICES: usize = 4;

/// Starts a command in a machine that stays, and waits until it runs.
fn begin(environment: &Environment, way: &[&str]) -> Child {
    let run = ["vm", "run", "--name", "one", "small", "--", "sleep", "1000"];
    let mut command = environment.direct(&[way, &run].concat());
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    within("the command runs", || {
        let execs = environment.run(&["--json", "vm", "execs", "one"]);
        String::from_utf8_lossy(&execs.stdout).contains("sleep")
    });
    child
}

fn within(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "{what} did not come true");
        thread::sleep(Duration::from_millis(200));
    }
}

/// Kills with SIGKILL; nothing in the program can react to it.
fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn stops(environment: &Environment) {
    within("the machine stops", || {
        environment.vm_state("one") == "stopped"
    });
}

#[test]
fn a_killed_command_stops_its_machine_and_leaves_it() {
    let environment = Environment::with_image();
    kill(begin(&environment, &[]));
    stops(&environment);
    environment.must(&["vm", "delete", "one"]);

    let mut service = Service::start(&environment, &[]);
    let endpoint = service.endpoint.clone();
    let way = ["--endpoint", &endpoint];
    let child = begin(&environment, &way);
    for _ in 0..SERVICES {
        // the one before is killed
        drop(service);
        service = Service::start(&environment, &[]);
        thread::sleep(LASTING);
        assert_eq!(environment.vm_state("one"), "running");
    }
    // its client and the service die at once
    kill(child);
    drop(service);
    let _service = Service::start(&environment, &[]);
    stops(&environment);

    // what it was is over, and binds nobody
    environment.must(&[&way[..], &["vm", "start", "one"]].concat());
    let exec = ["vm", "exec", "one", "--", "echo", "here"];
    assert_eq!(environment.must(&[&way[..], &exec].concat()), "here\n");
    thread::sleep(Duration::from_secs(2));
    assert_eq!(environment.vm_state("one"), "running");
    environment.must(&[&way[..], &["vm", "delete", "--force", "one"]].concat());
}

//! A machine lives as long as its client, whatever becomes of the service meanwhile.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use super::{daemon::Daemon, foreign::sources};

/// How often a session is kept before its client dies: longer than it lives unkept.
const BEATS: usize = 24;

#[test]
fn a_machine_outlives_killed_services_and_ends_with_its_client() {
    let mut daemon = Daemon::start();
    let (package, reference) = sources();
    daemon.python("provision", &[&package, &reference]);

    let mut client = daemon
        .client("heartbeat", &[])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(client.stdout.take().unwrap()).lines();
    let mut beats = 0;
    for line in lines {
        let line = line.unwrap();
        assert!(line.starts_with("kept "), "{line}");
        beats += 1;
        if beats == 1 || beats == BEATS / 2 {
            daemon.signal("KILL");
            daemon.wait();
            daemon.again();
        }
        if beats == BEATS {
            break;
        }
    }
    assert_eq!(beats, BEATS, "the client gave up");
    assert!(!daemon.python("listed", &[]).is_empty());
    client.kill().unwrap();
    client.wait().unwrap();
    // its time goes on over the end of the service that it was told to
    daemon.signal("KILL");
    daemon.wait();
    daemon.again();
    daemon.python("empty", &[]);
    let left = daemon.root.join("state/vms").read_dir_utf8().unwrap();
    assert_eq!(left.count(), 0, "directories without a machine");
}

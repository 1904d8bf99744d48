//! A client that trusts its request ids, against a service that is killed all the
//! time.

use std::{collections::BTreeSet, process::Stdio, thread, time::Duration};

use super::{
    daemon::{Daemon, must},
    foreign::sources,
};

/// Machines that are made.
const MACHINES: usize = 200;

/// Pauses between a start and the next kill, from right after it to long enough for
/// many machines.
const PAUSES: [u64; 7] = [900, 40, 350, 5, 1500, 120, 600];

#[test]
fn every_request_makes_one_machine_whatever_is_killed_when() {
    let mut daemon = Daemon::start();
    let (package, reference) = sources();
    daemon.python("provision", &[&package, &reference]);

    let mut client = daemon.client("chaos", &[&MACHINES.to_string()]);
    let pipes = client.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = pipes.spawn().unwrap();
    let mut kills = 0;
    for pause in PAUSES.iter().cycle() {
        thread::sleep(Duration::from_millis(*pause));
        if client.try_wait().unwrap().is_some() {
            break;
        }
        daemon.signal("KILL");
        daemon.wait();
        daemon.again();
        kills += 1;
    }
    let said = must("chaos", &client.wait_with_output().unwrap());
    assert!(3 < kills, "the service was killed {kills} times");

    let ended: Vec<&str> = said.lines().filter(|line| *line != "done").collect();
    let succeeded = ended
        .iter()
        .filter_map(|line| line.strip_prefix("OPERATION_STATE_SUCCEEDED "));
    let made: BTreeSet<&str> = succeeded.map(str::trim).collect();
    let listed = daemon.python("listed", &[]);
    let listed: Vec<&str> = listed.lines().filter(|line| *line != "done").collect();
    let failed: Vec<_> = ended
        .iter()
        .filter(|line| line.contains("FAILED"))
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(ended.len(), MACHINES);
    assert_eq!(made.len(), MACHINES, "a machine answers two requests");
    assert_eq!(listed.len(), MACHINES, "{kills} kills");
    assert_eq!(made, listed.into_iter().collect());
    let directories = daemon.root.join("state/vms").read_dir_utf8().unwrap();
    assert_eq!(
        directories.count(),
        MACHINES,
        "directories without a machine"
    );
}

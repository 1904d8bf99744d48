//! What every backend does, tried on the real programs with tiny guests.
//!
//! Each test is run once for each backend, and for one in a jail; a new one is a line in `contract!`.

mod bench;
mod firecracker;
mod guest;
mod jail;

use std::os::unix::{fs::PermissionsExt as _, process::ExitStatusExt as _};

use rustix::process::Signal;

use super::{BackendError, Channel};
use crate::{domain::BackendKind, vm::in_words};
use bench::{Bench, counted};

macro_rules! contract {
    ($($test:ident),* $(,)?) => {
        mod on_qemu {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Bench::new(super::BackendKind::Qemu)).await;
            })*
        }
        mod on_firecracker {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Bench::new(super::BackendKind::Firecracker)).await;
            })*
        }
        mod on_jailed_firecracker {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Bench::jailed()).await;
            })*
        }
    };
}

contract!(
    a_guest_runs_and_its_console_is_heard,
    a_guest_that_ends_its_machine_ends_the_vmm_in_order,
    a_killed_vmm_is_told_from_one_that_ended,
    a_vmm_that_is_dropped_is_gone,
    a_paused_guest_says_nothing_and_goes_on_when_resumed,
    a_snapshot_leaves_the_guest_where_it_was,
    a_restored_guest_goes_on_where_it_was_kept,
    two_machines_go_on_from_one_snapshot,
    only_a_paused_guest_can_be_kept,
    a_snapshot_of_another_backend_is_refused,
    a_damaged_snapshot_does_not_run,
    a_missing_kernel_is_named,
    a_missing_disk_is_named,
    a_lost_vmm_answers_with_an_error,
);

async fn a_guest_runs_and_its_console_is_heard(bench: Bench) {
    let running = bench.run(&bench.machine(&guest::counter()), "vm").await;
    running.say_more(3).await;
    assert!(3 <= counted(&running.console()));
}

async fn a_guest_that_ends_its_machine_ends_the_vmm_in_order(bench: Bench) {
    let machine = bench.machine(&guest::farewell("so long\n"));
    let mut running = bench.run(&machine, "vm").await;
    let status = running.end().await;
    assert!(status.success(), "{status} {}", running.errors());
    assert_eq!(running.console(), "so long\n");
}

async fn a_killed_vmm_is_told_from_one_that_ended(bench: Bench) {
    let mut running = bench.run(&bench.machine(&guest::counter()), "vm").await;
    running.say_more(1).await;
    running.process.signal(Signal::KILL);
    assert_eq!(running.end().await.signal(), Some(9));
}

async fn a_vmm_that_is_dropped_is_gone(bench: Bench) {
    let running = bench.run(&bench.machine(&guest::counter()), "vm").await;
    let bench::Running { process, .. } = running;
    let id = process.id().unwrap();
    drop(process);
    let gone = async {
        while std::path::Path::new(&format!("/proc/{id}/exe")).exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(bench::PATIENCE, gone).await.unwrap();
}

async fn a_paused_guest_says_nothing_and_goes_on_when_resumed(bench: Bench) {
    let mut running = bench.run(&bench.machine(&guest::counter()), "vm").await;
    running.say_more(2).await;
    for _ in 0..2 {
        running.process.pause().await.unwrap();
    }
    let said = running.fall_silent().await;
    for _ in 0..2 {
        running.process.resume().await.unwrap();
    }
    running.say_more(2).await;
    assert!(counted(&said) < counted(&running.console()));
}

async fn a_snapshot_leaves_the_guest_where_it_was(bench: Bench) {
    let mut running = bench.run(&bench.machine(&guest::counter()), "vm").await;
    running.say_more(2).await;
    running.process.pause().await.unwrap();
    for name in ["first", "second"] {
        let directory = bench.directory(name);
        running.process.snapshot(&directory).await.unwrap();
        let files: Vec<_> = directory
            .read_dir_utf8()
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert!(!files.is_empty());
        for file in files {
            let mode = file.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", file.path());
        }
    }
    running.fall_silent().await;
    running.process.resume().await.unwrap();
    running.say_more(2).await;
    counted(&running.console());
}

async fn a_restored_guest_goes_on_where_it_was_kept(bench: Bench) {
    let machine = bench.machine(&guest::counter());
    let mut running = bench.run(&machine, "vm").await;
    running.say_more(2).await;
    running.process.pause().await.unwrap();
    let directory = bench.directory("snapshot");
    running.process.snapshot(&directory).await.unwrap();
    let said = running.fall_silent().await;
    running.process.signal(Signal::KILL);
    running.end().await;
    // neither its directory nor its disks are what they were
    std::fs::remove_dir_all(bench.root.join("vm")).unwrap();
    let mut elsewhere = machine;
    for disk in &mut elsewhere.disks {
        let path = bench.root.join(format!("{}-moved", disk.serial));
        std::fs::rename(&disk.path, &path).unwrap();
        disk.path = path;
    }
    let mut restored = bench.restore(&elsewhere, "other", &directory).await;
    restored.say_more(3).await;
    // the VMM can be spoken to as before
    restored.process.pause().await.unwrap();
    let heard = restored.fall_silent().await;
    assert!(counted(&said) < counted(&format!("{said}{heard}")));
    restored.process.resume().await.unwrap();
    restored.say_more(1).await;
    // where a host connects, it can at once; where a guest does, it waits
    match &restored.channel {
        Channel::Accept(_) => {}
        Channel::Connect(_) => drop(restored.channel.open().await.unwrap()),
        Channel::Pair(_) => panic!("a restored guest is never told of it"),
    }
}

async fn two_machines_go_on_from_one_snapshot(bench: Bench) {
    let mut machine = bench.machine(&guest::counter());
    // two may not write to one disk
    machine.disks.truncate(1);
    let mut running = bench.run(&machine, "vm").await;
    running.say_more(2).await;
    running.process.pause().await.unwrap();
    let directory = bench.directory("snapshot");
    running.process.snapshot(&directory).await.unwrap();
    let said = running.fall_silent().await;
    let one = bench.restore(&machine, "one", &directory).await;
    let other = bench.restore(&machine, "other", &directory).await;
    for restored in [&one, &other] {
        restored.say_more(2).await;
        counted(&format!("{said}{}", restored.console()));
    }
}

async fn only_a_paused_guest_can_be_kept(bench: Bench) {
    let mut running = bench.run(&bench.machine(&guest::counter()), "vm").await;
    let directory = bench.directory("snapshot");
    let refused = running.process.snapshot(&directory).await.unwrap_err();
    assert!(
        matches!(refused, BackendError::Refused { .. }),
        "{refused:?}"
    );
    running.say_more(1).await;
}

async fn a_snapshot_of_another_backend_is_refused(bench: Bench) {
    let machine = bench.machine(&guest::counter());
    let directory = bench.directory("nothing");
    let refused = bench.started(&machine, "vm", Some(&directory));
    let refused = refused.map(drop).unwrap_err();
    let name = bench.backend.choice.kind.as_str();
    assert!(refused.to_string().contains(name), "{refused}");
    assert!(
        matches!(refused, BackendError::NoSnapshot { .. }),
        "{refused:?}"
    );
}

async fn a_damaged_snapshot_does_not_run(bench: Bench) {
    let machine = bench.machine(&guest::counter());
    let directory = bench.directory("snapshot");
    for name in ["qemu.state", "firecracker.state", "firecracker.memory"] {
        std::fs::write(directory.join(name), [7; 8192]).unwrap();
    }
    let mut running = bench.started(&machine, "vm", Some(&directory)).unwrap();
    let refused = running.process.launch().await.unwrap_err();
    assert!(
        !matches!(refused, BackendError::TimedOut { .. }),
        "{refused:?}"
    );
    assert_eq!(running.console(), "");
}

async fn a_missing_kernel_is_named(bench: Bench) {
    let mut machine = bench.machine(&guest::counter());
    machine.kernel = bench.root.join("no-kernel");
    let words = refusal(&bench, &machine).await;
    assert!(words.contains("kernel"), "{words}");
}

async fn a_missing_disk_is_named(bench: Bench) {
    let mut machine = bench.machine(&guest::counter());
    machine.disks[1].path = bench.root.join("no-disk");
    let words = refusal(&bench, &machine).await;
    assert!(words.contains("No such file"), "{words}");
}

/// Why a machine does not come to run: by the launch or by the VMM's end.
async fn refusal(bench: &Bench, machine: &super::Machine) -> String {
    let mut running = match bench.started(machine, "vm", None) {
        Ok(running) => running,
        Err(error) => return in_words(&error),
    };
    match running.process.launch().await {
        Err(error) if !matches!(error, BackendError::Ended { .. }) => in_words(&error),
        _ => {
            let status = running.end().await;
            assert!(!status.success());
            running.errors()
        }
    }
}

async fn a_lost_vmm_answers_with_an_error(bench: Bench) {
    let mut running = bench.run(&bench.machine(&guest::counter()), "vm").await;
    running.process.signal(Signal::KILL);
    running.end().await;
    let lost = running.process.pause().await.unwrap_err();
    assert!(matches!(lost, BackendError::Broken { .. }), "{lost:?}");
}

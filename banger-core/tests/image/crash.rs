//! A process that is killed at every step of every operation: afterwards the
//! operation is done, or never happened.

mod bench;
mod machine;
mod operation;
mod registry;
#[path = "../common/steps.rs"]
mod steps;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    os::unix::process::ExitStatusExt as _,
    process::{Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use banger_core::domain::Digest;
use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::{Signal, getpid, kill_process};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use bench::Bench;
use operation::Operation;
use registry::Content;

/// The test's own name: it runs itself as the process that is killed.
const TEST: &str = "image::crash::every_operation_is_done_or_never_happened";
/// What that process does, where, and at which step it is killed.
const VARIABLES: [&str; 3] = [
    "BANGER_TEST_OPERATION",
    "BANGER_TEST_ROOT",
    "BANGER_TEST_STEP",
];
/// Operations at a time: each waits most of its time for a disk.
const THREADS: usize = 4;
/// The step at which nobody is killed.
const NEVER: usize = usize::MAX;

/// The process that is killed, if this is it.
#[expect(clippy::disallowed_methods, reason = "how this process is told")]
fn asked() -> Option<(Operation, Utf8PathBuf, usize)> {
    let [operation, root, at] = VARIABLES.map(|name| env::var(name).ok());
    let named = |(it, _): &(Operation, usize)| operation.as_deref() == Some(&format!("{it:?}"));
    let (operation, _) = Operation::ALL.into_iter().find(named)?;
    Some((operation, root?.into(), at?.parse().unwrap()))
}

fn victim(operation: Operation, root: &Utf8Path, at: usize) {
    Runtime::new().unwrap().block_on(async {
        let bench = Bench::open(root).await;
        let made = AtomicUsize::new(0);
        steps::watch(move |_| {
            if made.fetch_add(1, Ordering::SeqCst) + 1 == at {
                kill_process(getpid(), Signal::KILL).unwrap();
            }
        });
        operation.carry_out(&bench).await;
    });
}

/// Has another process carry an operation out, which is killed at a step.
fn carry_out(operation: Operation, root: &Utf8Path, at: usize) -> ExitStatus {
    #[expect(clippy::disallowed_methods, reason = "this test as another process")]
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", TEST, "--nocapture"])
        .env("PATH", format!("{root}/bin:/usr/sbin:/usr/bin:/sbin:/bin"))
        .stdout(Stdio::null());
    let values = [format!("{operation:?}"), root.to_string(), at.to_string()];
    command.envs(VARIABLES.into_iter().zip(values));
    command.status().unwrap()
}

/// What is made when nobody is killed.
#[derive(Default)]
struct Expected {
    disks: BTreeSet<Digest>,
    files: BTreeMap<Operation, Digest>,
}

/// A scratch directory in which an operation is about to begin.
async fn prepared(operation: Operation, registry: &str) -> (TempDir, Utf8PathBuf) {
    let scratch = tempfile::tempdir().unwrap();
    let root = Utf8Path::from_path(scratch.path()).unwrap().to_owned();
    fs::write(root.join("registry"), registry).unwrap();
    operation.prepare(&Bench::open(&root).await).await;
    (scratch, root)
}

async fn undisturbed(registry: &str) -> Expected {
    let mut expected = Expected::default();
    for (operation, _) in Operation::ALL {
        let (_scratch, root) = prepared(operation, registry).await;
        assert!(carry_out(operation, &root, NEVER).success());
        for image in Bench::open(&root).await.images().await {
            let disk = fs::read(&image.rootfs).unwrap();
            expected.disks.insert(Digest::of(&disk));
        }
        if operation.makes_a_file() {
            let file = Digest::of(&fs::read(root.join("out")).unwrap());
            expected.files.insert(operation, file);
        }
    }
    expected
}

/// Kills at one step; answers whether the operation was done, or nothing when
/// it has no such step.
async fn crash(
    operation: Operation,
    at: usize,
    registry: &str,
    expected: &Expected,
) -> Option<bool> {
    let (_scratch, root) = prepared(operation, registry).await;
    let status = carry_out(operation, &root, at);
    if status.success() {
        return None;
    }
    let killed = status.signal() == Some(Signal::KILL.as_raw());
    assert!(killed, "{operation:?} at {at}: {status}");
    let bench = Bench::open(&root).await;
    bench.reconcile().await;
    bench.assert_whole(&expected.disks).await;
    let is_done = operation.is_done(&bench).await;
    if !is_done {
        let status = carry_out(operation, &root, NEVER);
        assert!(status.success(), "{operation:?} again after {at}");
        assert!(operation.is_done(&bench).await, "{operation:?} at {at}");
        bench.assert_clean();
    }
    bench.assert_whole(&expected.disks).await;
    if let Some(file) = expected.files.get(&operation) {
        let out = Digest::of(&fs::read(root.join("out")).unwrap());
        assert_eq!(out, *file, "{operation:?} at {at}");
        bench.assert_clean();
    }
    if matches!(operation, Operation::Register | Operation::Promote) {
        let own = Digest::of(&fs::read(root.join("disk.ext4")).unwrap());
        assert!(expected.disks.contains(&own), "a file of the user changed");
    }
    Some(is_done)
}

/// Kills an operation at each of its steps, one after the other.
fn walk(operation: Operation, fewest: usize, registry: &str, expected: &Expected) {
    let runtime = Runtime::new().unwrap();
    let mut outcomes = Vec::new();
    let kill = |at| runtime.block_on(crash(operation, at, registry, expected));
    while let Some(is_done) = kill(outcomes.len() + 1) {
        outcomes.push(is_done);
    }
    let marks = outcomes.iter().map(|done| if *done { '+' } else { '-' });
    let told = format!(
        "{operation:?}: {} {}",
        outcomes.len(),
        marks.collect::<String>()
    );
    assert!(fewest <= outcomes.len(), "{told}");
    assert!(outcomes.contains(&false), "{told}");
    // the pieces of a download, and so its last step, are not the same each time
    let varies = operation == Operation::Download;
    assert!(varies || outcomes.contains(&true), "{told}");
}

#[test]
fn every_operation_is_done_or_never_happened() {
    if let Some((operation, root, at)) = asked() {
        return victim(operation, &root, at);
    }
    let registry = Arc::new(Content::new()).serve();
    let expected = Runtime::new().unwrap().block_on(undisturbed(&registry));
    let left = Mutex::new(Operation::ALL.into_iter());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some((operation, fewest)) = next(&left) {
                    walk(operation, fewest, &registry, &expected);
                }
            });
        }
    });
}

fn next<T>(left: &Mutex<impl Iterator<Item = T>>) -> Option<T> {
    left.lock().unwrap().next()
}

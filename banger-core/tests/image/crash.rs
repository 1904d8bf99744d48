//! A process that is killed at every step of every operation: afterwards the
//! operation is done, or never happened.

use std::{
    env, fs,
    os::unix::process::ExitStatusExt as _,
    process::{Command, ExitStatus, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use banger_core::{
    domain::{Bytes, Digest, Image},
    host_fs::copy_file,
    image::{ImageManager as _, PullRequest, RegisterRequest, SaveFormat, SaveOutput, SaveRequest},
    kernel::KernelSelection,
    progress::NoProgress,
    step,
};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::{Signal, getpid, kill_process};
use tokio::runtime::Runtime;
use tracing::{Event, Metadata, Subscriber, span};

use super::doubles::World;

/// The test's own name: it runs itself as the process that is killed.
const TEST: &str = "image::crash::every_operation_is_done_or_never_happened";
/// What that process does, where, and at which step it is killed.
const VARIABLES: [&str; 3] = [
    "BANGER_TEST_OPERATION",
    "BANGER_TEST_ROOT",
    "BANGER_TEST_STEP",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Pull,
    Register,
    Promote,
    Save,
    Delete,
}

/// The operations, and the fewest steps that each has.
const OPERATIONS: [(Operation, usize); 5] = [
    (Operation::Pull, 10),
    (Operation::Register, 2),
    (Operation::Promote, 10),
    (Operation::Save, 4),
    (Operation::Delete, 4),
];

impl Operation {
    /// What was there before.
    async fn prepare(self, world: &World, root: &Utf8Path) {
        match self {
            Self::Pull => {}
            Self::Save | Self::Delete => pull(world).await,
            Self::Register => disk_of_the_user(world, root).await,
            Self::Promote => {
                disk_of_the_user(world, root).await;
                register(world, root).await;
            }
        }
    }

    async fn carry_out(self, world: &World, root: &Utf8Path) {
        match self {
            Self::Pull => pull(world).await,
            Self::Register => register(world, root).await,
            Self::Promote => drop(world.manager.promote(&"mine".into()).await.unwrap()),
            Self::Save => save(world, &root.join("saved")).await,
            Self::Delete => drop(world.manager.delete(&"a-b".into()).await.unwrap()),
        }
    }

    /// Whether it happened. A state between the two fails.
    async fn is_done(self, world: &World, root: &Utf8Path) -> bool {
        let images = world.manager.list().await.unwrap();
        let names: Vec<&str> = images.iter().map(|image| image.name.as_str()).collect();
        match (self, names.as_slice()) {
            (Self::Pull | Self::Register, []) | (Self::Delete, ["a-b"]) => false,
            (Self::Delete, []) | (Self::Pull, ["a-b"]) | (Self::Register, ["mine"]) => true,
            (Self::Promote, ["mine"]) => images[0].is_managed(),
            (Self::Save, ["a-b"]) => root.join("saved").exists(),
            (_, names) => panic!("{self:?}: {names:?}"),
        }
    }
}

async fn pull(world: &World) {
    let request = PullRequest {
        reference: "localhost/a:b".parse().unwrap(),
        name: None,
        kernel: KernelSelection::default(),
        size: Some(Bytes::from_mib(16)),
    };
    world.manager.pull(request, &NoProgress).await.unwrap();
}

/// Leaves nothing but a disk that belongs to nobody.
async fn disk_of_the_user(world: &World, root: &Utf8Path) {
    pull(world).await;
    let image = world.manager.show(&"a-b".into()).await.unwrap();
    copy_file(&image.rootfs, &root.join("disk.ext4")).unwrap();
    world.manager.delete(&image.id.into()).await.unwrap();
}

async fn register(world: &World, root: &Utf8Path) {
    let request = RegisterRequest {
        name: "mine".parse().unwrap(),
        rootfs: root.join("disk.ext4"),
        kernel: KernelSelection::default(),
    };
    world.manager.register(request).await.unwrap();
}

async fn save(world: &World, output: &Utf8Path) {
    let request = SaveRequest {
        format: SaveFormat::OciArchive,
        output: SaveOutput::File(output.to_owned()),
    };
    world.manager.save(&"a-b".into(), request).await.unwrap();
}

/// Kills the process at a step.
struct Killer {
    steps: AtomicUsize,
    at: usize,
}

impl Subscriber for Killer {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == step::TARGET
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &Event<'_>) {
        if self.steps.fetch_add(1, Ordering::SeqCst) + 1 == self.at {
            kill_process(getpid(), Signal::KILL).unwrap();
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// The process that is killed, if this is it.
#[expect(clippy::disallowed_methods, reason = "how this process is told")]
fn asked() -> Option<(Operation, Utf8PathBuf, usize)> {
    let [operation, root, at] = VARIABLES.map(|name| env::var(name).ok());
    let named = |(it, _): &(Operation, usize)| operation.as_deref() == Some(&format!("{it:?}"));
    let (operation, _) = OPERATIONS.into_iter().find(named)?;
    Some((operation, root?.into(), at?.parse().unwrap()))
}

fn victim(operation: Operation, root: &Utf8Path, at: usize) {
    Runtime::new().unwrap().block_on(async {
        let world = World::with_disks(root).await;
        let killer = Killer {
            steps: AtomicUsize::new(0),
            at,
        };
        tracing::subscriber::set_global_default(killer).unwrap();
        operation.carry_out(&world, root).await;
    });
}

fn kill(operation: Operation, root: &Utf8Path, at: usize) -> ExitStatus {
    #[expect(clippy::disallowed_methods, reason = "this test as another process")]
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", TEST, "--nocapture"])
        .stdout(Stdio::null());
    let values = [format!("{operation:?}"), root.to_string(), at.to_string()];
    command.envs(VARIABLES.into_iter().zip(values));
    command.status().unwrap()
}

/// Every image has all its files, and nothing else lies about.
fn assert_whole(world: &World, images: &[Image], disk: Digest) {
    let managed = images.iter().filter(|image| image.is_managed());
    let mut expected: Vec<String> = managed.map(|image| image.id.to_string()).collect();
    let mut found = world.image_entries();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    for image in images {
        assert_eq!(Digest::of(&fs::read(&image.rootfs).unwrap()), disk);
        assert_eq!(fs::read(&image.boot.kernel).unwrap(), b"kernel");
    }
}

/// What a disk and an archive are when nobody is killed.
async fn undisturbed() -> (Digest, Digest) {
    let scratch = tempfile::tempdir().unwrap();
    let root = Utf8Path::from_path(scratch.path()).unwrap();
    let world = World::with_disks(root).await;
    pull(&world).await;
    save(&world, &root.join("saved")).await;
    let image = world.manager.show(&"a-b".into()).await.unwrap();
    let digest = |path: &Utf8Path| Digest::of(&fs::read(path).unwrap());
    (digest(&image.rootfs), digest(&root.join("saved")))
}

/// Kills at one step; answers whether the operation was done, or nothing when
/// it has no such step.
async fn crash(operation: Operation, at: usize, (disk, archive): (Digest, Digest)) -> Option<bool> {
    let scratch = tempfile::tempdir().unwrap();
    let root = Utf8Path::from_path(scratch.path()).unwrap();
    let world = World::with_disks(root).await;
    operation.prepare(&world, root).await;
    drop(world);
    let status = kill(operation, root, at);
    if status.success() {
        return None;
    }
    let signal = status.signal();
    assert_eq!(
        signal,
        Some(Signal::KILL.as_raw()),
        "{operation:?} at {at}: {status}"
    );
    let world = World::with_disks(root).await;
    world.manager.reconcile().await.unwrap();
    assert_whole(&world, &world.manager.list().await.unwrap(), disk);
    let is_done = operation.is_done(&world, root).await;
    if !is_done {
        operation.carry_out(&world, root).await;
        assert!(
            operation.is_done(&world, root).await,
            "{operation:?} at {at}"
        );
    }
    assert_whole(&world, &world.manager.list().await.unwrap(), disk);
    if operation == Operation::Save {
        assert_eq!(Digest::of(&fs::read(root.join("saved")).unwrap()), archive);
        assert!(!root.join("saved.partial").exists());
    }
    if matches!(operation, Operation::Register | Operation::Promote) {
        let own = fs::read(root.join("disk.ext4")).unwrap();
        assert_eq!(Digest::of(&own), disk, "a file of the user was changed");
    }
    Some(is_done)
}

#[test]
fn every_operation_is_done_or_never_happened() {
    if let Some((operation, root, at)) = asked() {
        return victim(operation, &root, at);
    }
    Runtime::new().unwrap().block_on(async {
        let expected = undisturbed().await;
        for (operation, fewest) in OPERATIONS {
            let mut outcomes = Vec::new();
            while let Some(is_done) = crash(operation, outcomes.len() + 1, expected).await {
                outcomes.push(is_done);
            }
            let told = format!("{operation:?}: {outcomes:?}");
            println!("{told}");
            assert!(fewest <= outcomes.len(), "{told}");
            assert!(
                outcomes.contains(&true) && outcomes.contains(&false),
                "{told}"
            );
        }
    });
}

//! Keeping a machine's state as files.
//!
//! Order: its CPUs stand still, its VMM writes memory and devices, its own
//! disks are copied, its CPUs go on if they did before; then its agent is
//! waited for, where that has to come back. Invariants: nothing is written but
//! into a snapshot's directory in the making, which is its caller's; whatever
//! fails, a machine that ran goes on. Entry point: [`Keeper::keep`].

use std::{fs::File, sync::Arc, time::Duration};

use camino::{Utf8Path, Utf8PathBuf};
use tokio::time::timeout;
use tonic::Status;

use super::{
    changes::{self, done},
    guest_link::LinkChanges,
    machine::RunningMachine,
    record::Record,
};
use crate::{
    directories::Directories,
    domain::VmState,
    error::ErrorKind,
    host_fs::{FileLock, IoContext as _, PathError, Staging, copy_open_file},
    step::reached,
    task::attended,
    vm::{
        in_words,
        kept::{KEEPING, Kept},
        launch::Launch,
        snapshot,
    },
};

/// Why the machine stands still, and why it goes on.
const PAUSED: &str = "its state is being kept";
const RESUMED: &str = "it goes on after its state was kept";
/// How long an agent may take to come back.
const AGENT_DEADLINE: Duration = Duration::from_secs(10);

/// What is needed of a machine's monitor.
#[derive(Debug)]
pub(super) struct Keeper<'a> {
    pub(super) launch: &'a Launch,
    /// Tells of the agent's coming back, where it has to.
    pub(super) link: Option<LinkChanges>,
}

impl Keeper<'_> {
    /// Keeps the machine in `directory`, unless `given_up` comes first.
    pub(super) async fn keep(
        self,
        directory: &Utf8Path,
        given_up: impl Future<Output = ()>,
        machine: &mut RunningMachine,
        record: &mut Record,
    ) -> Result<(), Status> {
        self.check(directory)?;
        let work = Work::begin(&self.launch.directories, directory).await?;
        let work = Arc::new(work);
        let was_running = record.vm().state == VmState::Running;
        if was_running && let Err(status) = changes::pause(machine, record, PAUSED).await {
            // it may stand still without its record saying so
            drop(machine.resume().await);
            return Err(status);
        }
        let kept = tokio::select! {
            kept = self.write(directory, &work, machine) => kept,
            () = given_up => Err(Status::cancelled("nobody waits for it any more")),
        };
        if was_running {
            changes::resume(machine, record, RESUMED).await?;
            self.wait_for_agent().await;
        }
        kept
    }

    /// Refuses to write where no snapshot is made.
    fn check(&self, directory: &Utf8Path) -> Result<(), Status> {
        let is_in_place = directory.parent() == Some(&self.launch.directories.snapshots())
            && directory.file_name().is_some_and(Staging::is_staging_name);
        if is_in_place {
            return Ok(());
        }
        Err(Status::invalid_argument(format!(
            "{directory} is no snapshot in the making"
        )))
    }

    async fn write(
        &self,
        directory: &Utf8Path,
        work: &Arc<Work>,
        machine: &mut RunningMachine,
    ) -> Result<(), Status> {
        done(machine.snapshot(directory).await)?;
        reached("kept the state of a machine");
        let (launch, directory) = (self.launch.clone(), directory.to_owned());
        // a thread that is given up on ends soon, and is at work until then
        let work = Arc::clone(work);
        let copied = attended(move |cancel| {
            let kept = Kept::describe(&launch)?;
            for path in kept.own_files() {
                copy(path, &directory, &|| cancel.is_cancelled())?;
            }
            kept.save(&directory)?;
            drop(work);
            Ok(())
        });
        copied.await.map_err(|error| status(&error))
    }

    async fn wait_for_agent(self) {
        let Some(mut link) = self.link else { return };
        if timeout(AGENT_DEADLINE, link.next()).await.is_err() {
            tracing::warn!("the agent did not come back within {AGENT_DEADLINE:?}");
        }
    }
}

/// Keeps a directory from those who sweep, for as long as anybody of this
/// monitor's is at work in it.
#[derive(Debug)]
struct Work {
    path: Utf8PathBuf,
    _lock: FileLock,
}

impl Work {
    async fn begin(directories: &Directories, directory: &Utf8Path) -> Result<Self, Status> {
        let sweeping = snapshot::lock(directories).await;
        let _sweeping = sweeping.map_err(|error| Status::internal(in_words(&error)))?;
        if !directory.is_dir() {
            return Err(Status::cancelled("whoever asked for it is gone"));
        }
        let path = directory.join(KEEPING);
        match FileLock::try_acquire(&path).map_err(|error| status(&error))? {
            Some(lock) => Ok(Self { path, _lock: lock }),
            None => Err(Status::internal(format!("{path} is locked"))),
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, "the lock on a snapshot in the making is left");
        }
    }
}

fn copy(
    path: &Utf8PathBuf,
    directory: &Utf8Path,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<(), PathError> {
    let source = File::open(path).at("open", path)?;
    let target = directory.join(path.file_name().unwrap_or_default());
    copy_open_file(&source, &target, is_cancelled).map(drop)
}

/// A file's failure, so that a full disk is told from others.
fn status(error: &PathError) -> Status {
    let words = in_words(error);
    match error.kind() {
        ErrorKind::ResourceExhausted => Status::resource_exhausted(words),
        _ => Status::internal(words),
    }
}

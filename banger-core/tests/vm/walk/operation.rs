//! What is asked for while somebody is killed: what is there before, the
//! request, and what there is to be once it was repeated.

use std::time::Duration;

use banger_core::{
    ErrorKind,
    domain::{BackendKind, BootMode, Bytes, NetworkMode, RootDiskMode, Selector, Vm, VmState},
    error::in_words,
    progress::NoProgress,
    vm::{
        CreateVm, DeleteVmError, Lifeline, Lifetime, LocalVmSupervisor, RequestedSource,
        RestartVmError, RestoreVm, RestoreVmError, SnapshotVmError, StartVmError, StopVmError,
        VmQueryError, VmSupervisor as _, VolumeRequest,
    },
};
use camino::Utf8Path;

use super::{
    super::fixture::request,
    ground::{DISK, Ground, VOLUME},
    processes::Role,
};

/// The one VM.
pub(crate) const NAME: &str = "walked";
/// What these guests get to end, which they do at once.
const GRACE: Duration = Duration::from_secs(5);
/// What those get that do not end.
const SHORT_GRACE: Duration = Duration::from_millis(100);

/// A request that changes a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    Create,
    Start,
    /// Of a VM whose guest does not hear its power button.
    Stop,
    Restart,
    /// Of a VM that runs, by force.
    Delete,
    /// Of a VM that does not.
    DeleteStopped,
    /// Ending a VM that vanishes when it ends.
    StopTemporary,
    /// Making and starting one that vanishes with its caller.
    Run,
    /// Keeping a VM that runs.
    Snapshot,
    /// Making a VM that goes on where another one was kept.
    Restore,
    /// Of what a monitor left that was killed.
    Repair,
}

/// How an operation is walked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    pub(crate) operation: Operation,
    /// Whose steps are walked, and the fewest that each makes.
    pub(crate) fewest: &'static [(Role, usize)],
    /// Who is killed where they live.
    pub(crate) victims: &'static [Role],
}

/// What a request was answered: the kind and words of its error, or what its
/// caller holds.
type Answer = Result<Option<Lifeline>, (ErrorKind, String)>;

impl Operation {
    /// Every operation. A restart's monitors make the steps of a stop and of a
    /// start, where monitors are killed, too.
    pub(crate) const ALL: [Walk; 11] = [
        Walk::new(Self::Create, &[(Role::Client, 12)]),
        Walk::new(Self::Start, &[(Role::Client, 5), (Role::Monitor, 24)]),
        Walk::new(Self::Stop, &[(Role::Client, 2), (Role::Monitor, 12)]),
        Walk::new(Self::Restart, &[(Role::Client, 7)]),
        Walk::new(Self::Delete, &[(Role::Client, 9), (Role::Monitor, 8)]),
        Walk::new(Self::DeleteStopped, &[(Role::Client, 8)]),
        Walk::new(Self::Repair, &[(Role::Client, 4)]),
        Walk::new(
            Self::StopTemporary,
            &[(Role::Client, 2), (Role::Monitor, 14)],
        ),
        Walk {
            victims: &[Role::Client, Role::Vmm, Role::Helper, Role::Keeper],
            ..Walk::new(Self::Run, &[(Role::Client, 16), (Role::Monitor, 24)])
        },
        Walk::new(Self::Snapshot, &[(Role::Client, 4), (Role::Monitor, 10)]),
        Walk::new(Self::Restore, &[(Role::Client, 15), (Role::Monitor, 20)]),
    ];

    pub(crate) fn named(name: &str) -> Self {
        let mut all = Self::ALL.into_iter().map(|walk| walk.operation);
        all.find(|it| format!("{it:?}") == name).unwrap()
    }

    /// Makes what is there before.
    pub(crate) async fn prepare(self, ground: &Ground) {
        let (vms, root) = (&ground.vms, ground.root());
        ground.boot_guests_that_hear(self != Self::Stop);
        let made = match self {
            Self::Create | Self::Run => return,
            Self::StopTemporary => Made::TEMPORARY,
            Self::Snapshot | Self::Restore => Made::READING,
            _ => Made::PLAIN,
        };
        create(vms, &root, made).await.unwrap();
        if !matches!(self, Self::Start | Self::DeleteStopped) {
            start(vms, Lifetime::Detached).await.unwrap();
        }
        if self == Self::Restore {
            vms.snapshot(&NAME.into()).await.unwrap();
            vms.delete(&NAME.into(), true).await.unwrap();
        }
        if self == Self::Repair {
            ground.lose_monitor().await;
        }
    }

    /// Asks for it.
    pub(crate) async fn ask(self, vms: &LocalVmSupervisor, root: &Utf8Path) -> Answer {
        let name = Selector::from(NAME);
        match self {
            Self::Create => create(vms, root, Made::PLAIN).await,
            Self::Start => start(vms, Lifetime::Detached).await,
            Self::Stop | Self::StopTemporary => {
                let grace = match self {
                    Self::Stop => SHORT_GRACE,
                    _ => GRACE,
                };
                let stopped = vms.stop(&name, grace).await;
                answer(stopped.map(|_| None), StopVmError::kind)
            }
            Self::Restart => {
                let restarted = vms.restart(&name, GRACE, &NoProgress).await;
                answer(restarted.map(|_| None), RestartVmError::kind)
            }
            Self::Delete | Self::DeleteStopped => {
                let force = self == Self::Delete;
                let deleted = vms.delete(&name, force).await;
                answer(deleted.map(|_| None), DeleteVmError::kind)
            }
            Self::Repair => {
                let shown = vms.show(&name).await;
                answer(shown.map(|_| None), VmQueryError::kind)
            }
            Self::Run => {
                let kept = create(vms, root, Made::BOUND).await?;
                let started = start(vms, Lifetime::BoundToCaller).await;
                drop(kept);
                started
            }
            Self::Snapshot => {
                let kept = vms.snapshot(&name).await;
                answer(kept.map(|_| None), SnapshotVmError::kind)
            }
            Self::Restore => restore(vms).await,
        }
    }

    /// Whether a request that was repeated may be answered so, by what the first
    /// one left.
    pub(crate) fn allows(self, left: Option<&Vm>, answer: &Answer) -> bool {
        let refused = answer.as_ref().err().map(|(kind, _)| *kind);
        let is_there = left.is_some();
        match self {
            Self::Create | Self::Restore if is_there => refused == Some(ErrorKind::AlreadyExists),
            Self::Start if left.is_some_and(|vm| vm.state == VmState::Running) => {
                refused == Some(ErrorKind::Conflict)
            }
            // there is nothing to keep any more
            Self::Snapshot if left.is_some_and(|vm| vm.state == VmState::Failed) => {
                refused == Some(ErrorKind::Conflict)
            }
            Self::Delete | Self::DeleteStopped | Self::StopTemporary if !is_there => {
                refused == Some(ErrorKind::NotFound)
            }
            _ => refused.is_none(),
        }
    }

    /// Whether nothing more is to be waited for when whoever asked is gone.
    pub(crate) fn may_leave(self, vms: &[Vm]) -> bool {
        // it goes with its caller
        self != Self::Run || vms.is_empty()
    }

    /// Whether it happened.
    pub(crate) fn is_done(self, vms: &[Vm]) -> bool {
        let state = vms.first().map(|vm| vm.state);
        match self {
            Self::Create => state == Some(VmState::Created),
            Self::Start | Self::Restart | Self::Run => state == Some(VmState::Running),
            Self::Repair => state == Some(VmState::Failed),
            // whoever was killed may have ended it out of order
            Self::Snapshot | Self::Restore => {
                matches!(state, Some(VmState::Running | VmState::Failed))
            }
            Self::Stop => matches!(state, Some(VmState::Stopped | VmState::Failed)),
            Self::Delete | Self::DeleteStopped | Self::StopTemporary => state.is_none(),
        }
    }
}

impl Walk {
    const fn new(operation: Operation, fewest: &'static [(Role, usize)]) -> Self {
        Self {
            operation,
            fewest,
            victims: &Role::ALL,
        }
    }
}

fn answer<E: std::error::Error>(
    answered: Result<Option<Lifeline>, E>,
    kind: impl Fn(&E) -> ErrorKind,
) -> Answer {
    answered.map_err(|error| (kind(&error), in_words(&error)))
}

/// How the VM is made.
#[derive(Clone, Copy)]
struct Made {
    lifetime: Lifetime,
    /// It vanishes when it ends.
    temporary: bool,
    /// It only reads its named volume: what it writes to cannot be kept.
    reads: bool,
}

impl Made {
    const PLAIN: Self = Self {
        lifetime: Lifetime::Detached,
        temporary: false,
        reads: false,
    };
    const TEMPORARY: Self = Self {
        temporary: true,
        ..Self::PLAIN
    };
    const READING: Self = Self {
        reads: true,
        ..Self::PLAIN
    };
    const BOUND: Self = Self {
        lifetime: Lifetime::BoundToCaller,
        ..Self::TEMPORARY
    };
}

async fn create(vms: &LocalVmSupervisor, root: &Utf8Path, made: Made) -> Answer {
    let wanted = CreateVm {
        boot_mode: BootMode::Native,
        root_disk: RootDiskMode::Clone,
        disk_size: DISK,
        backend: Some(BackendKind::Firecracker),
        memory: Bytes::from_mib(64),
        network: NetworkMode::User,
        ports: vec![Ground::port(root)],
        remove_on_stop: made.temporary,
        volumes: vec![
            VolumeRequest {
                read_only: made.reads,
                ..volume(RequestedSource::Named(VOLUME.parse().unwrap()), "/named")
            },
            volume(RequestedSource::Path(root.join("tree")), "/tree"),
        ],
        ..request(NAME)
    };
    let created = vms.create(wanted, made.lifetime, &NoProgress).await;
    answer(
        created.map(|created| created.lifeline),
        banger_core::vm::CreateVmError::kind,
    )
}

fn volume(source: RequestedSource, target: &str) -> VolumeRequest {
    VolumeRequest {
        source,
        target: target.to_owned(),
        read_only: false,
    }
}

async fn start(vms: &LocalVmSupervisor, lifetime: Lifetime) -> Answer {
    let started = vms.start(&NAME.into(), lifetime, &NoProgress).await;
    answer(started.map(|started| started.lifeline), StartVmError::kind)
}

async fn restore(vms: &LocalVmSupervisor) -> Answer {
    let snapshots = vms.list_snapshots().await.unwrap();
    let snapshot = Selector::from(snapshots[0].id.to_string().as_str());
    let wanted = RestoreVm {
        name: NAME.parse().ok(),
        ..RestoreVm::default()
    };
    let restoring = vms.restore(&snapshot, wanted, Lifetime::Detached, &NoProgress);
    answer(restoring.await.map(|_| None), RestoreVmError::kind)
}

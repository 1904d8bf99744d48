//! Work on snapshots.
//!
//! Invariants: an operation makes at most one machine of a snapshot, which it knows
//! as one that makes a machine of an image does; one that was not up yet when its
//! server ended is gone, and its operation fails. The snapshot that an operation makes
//! has the operation's id.

use banger_api::v1::{
    CreateSnapshotRequest, DeleteSnapshotRequest, ErrorReason, PhaseKind, RestoreVmRequest,
    operation::Outcome,
};
use banger_core::{
    domain::{Selector, Snapshot, SnapshotId, VmName, VmState},
    vm::{DeleteSnapshotError, Lifetime, RestoreVm, SnapshotQueryError},
};
use tokio::time::{Instant, sleep};

use super::{
    artifacts::settled,
    machines::{Outcomes, PAUSE, SETTLING, check_session_of_id, check_time, outcome, owner, show},
    work::Context,
};
use crate::{
    convert::{self, spec, vm::OPERATION_LABEL},
    fault::Fault,
    request::{
        Checks,
        name::{SESSIONS, SNAPSHOTS},
    },
    sessions::SESSION_LABEL,
};

/// What the core is to go on with. Pure.
pub(crate) fn restore_request(request: &RestoreVmRequest) -> Result<RestoreVm, Fault> {
    let mut checks = Checks::default();
    SNAPSHOTS.id("snapshot", &request.snapshot, &mut checks);
    if !request.session.is_empty() {
        SESSIONS.id("session", &request.session, &mut checks);
    }
    spec::check_labels("labels", &request.labels, &mut checks);
    let ports = spec::ports("ports", &request.ports, &mut checks);
    let lease = request.lease.as_ref();
    let restore = RestoreVm {
        name: checks.parse_given::<VmName>("vm_id", &request.vm_id),
        ports: request.replace_ports.then_some(ports),
        remove_on_stop: request.remove_on_stop,
        lease: lease.map(|lease| spec::lease("lease", lease, &mut checks)),
        labels: request.labels.clone(),
    };
    checks.finish()?;
    Ok(restore)
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it is what every sort of work ends with"
)]
fn made(snapshot: &Snapshot) -> Outcomes {
    let snapshot = convert::snapshot::snapshot(snapshot);
    Ok(Some(Outcome::Snapshot(snapshot)))
}

/// The id of the snapshot that an operation makes, which is its own: there is no moment
/// in which the snapshot exists and the operation cannot find it.
fn own_id(context: &Context) -> Result<SnapshotId, Fault> {
    let id = context.operation.id.to_string().parse();
    id.map_err(|_| {
        Fault::new(
            ErrorReason::Internal,
            "an operation's id is none of a snapshot",
        )
    })
}

pub(super) async fn create(context: &Context, request: &CreateSnapshotRequest) -> Outcomes {
    let id = settled(&request.vm, "vms/").unwrap_or_default();
    let vms = &context.backend.vms;
    let own = own_id(context)?;
    if context.is_resumed()
        && let Some(snapshot) = context.backend.store.snapshot(own).await?
    {
        return made(&snapshot);
    }
    let id = Selector::from(id);
    let keeping = context.phase(PhaseKind::Snapshot, vms.snapshot_as(&id, own));
    made(&keeping.await?)
}

pub(super) async fn delete(context: &Context, request: &DeleteSnapshotRequest) -> Outcomes {
    let Some(id) = settled(&request.name, "snapshots/") else {
        return Ok(None);
    };
    let id = Selector::from(id);
    let deleting = context.backend.vms.delete_snapshot(&id);
    match context.phase(PhaseKind::Delete, deleting).await {
        Ok(snapshot) => made(&snapshot),
        Err(DeleteSnapshotError::Query(SnapshotQueryError::NotFound { .. }))
            if request.allow_missing || context.is_resumed() =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn restore(context: &Context, request: &RestoreVmRequest) -> Outcomes {
    if let Some(id) = &context.operation.made {
        return restored_before(context, id).await;
    }
    let mut restore = restore_request(request)?;
    let operation = context.operation.id.to_string();
    restore.labels.insert(OPERATION_LABEL.to_owned(), operation);
    restore.labels.extend(owner(context).await?);
    if let Some(session) = settled(&request.session, "sessions/") {
        check_session_of_id(&context.backend, session).await?;
        let label = (SESSION_LABEL.to_owned(), session.to_owned());
        restore.labels.extend([label]);
    }
    let snapshot = settled(&request.snapshot, "snapshots/").unwrap_or_default();
    let snapshot = Selector::from(snapshot);
    let progress = context.journal.as_ref();
    let vms = &context.backend.vms;
    let restoring = vms.restore(&snapshot, restore, Lifetime::Detached, progress);
    let started = context.phase(PhaseKind::Restore, restoring).await?;
    outcome(&started.vm)
}

/// What became of the machine that a server made which is gone.
async fn restored_before(context: &Context, id: &str) -> Outcomes {
    let deadline = Instant::now() + SETTLING;
    loop {
        match show(context, id).await? {
            Some(vm) if matches!(vm.state, VmState::Created | VmState::Starting) => {}
            Some(vm) => return outcome(&vm),
            None => {
                let message = "the server ended before the machine had gone on";
                return Err(Fault::new(ErrorReason::OperationInterrupted, message));
            }
        }
        check_time(deadline, id)?;
        sleep(PAUSE).await;
    }
}

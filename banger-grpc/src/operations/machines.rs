//! Work on virtual machines.
//!
//! Invariants: an operation makes at most one machine that is ever whole, and knows
//! it by its id from the moment on in which it is (`migrations/0060_operations.sql`);
//! an operation that fails or is given up leaves none.

use std::time::Duration;

use banger_api::v1::{
    CreateVmRequest, DeleteVmRequest, ErrorReason, PauseVmRequest, PhaseKind, ResumeVmRequest,
    StartVmRequest, StopVmRequest, operation::Outcome,
};
use banger_core::{
    domain::{Selector, Vm, VmName, VmState},
    vm::{CreateVm, DeleteVmError, Lifetime, StartVmError, StopVmError, VmQueryError},
};
use tokio::time::{Instant, sleep};

use super::{artifacts::settled, volumes::settle_volumes, work::Context};
use crate::{
    backend::Backend,
    caller::OWNER_LABEL,
    convert::{self, spec, vm::OPERATION_LABEL},
    fault::{Fault, session_not_found, session_over},
    request::{
        Checks,
        name::{IMAGES, SESSIONS},
    },
    sessions::SESSION_LABEL,
};

/// How long a machine has to stop unless its caller says.
const GRACE: Duration = Duration::from_secs(30);
/// How long somebody else may be at work on a machine.
pub(super) const SETTLING: Duration = Duration::from_mins(3);
/// How often a machine is looked at that somebody else is at work on.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

pub(super) type Outcomes = Result<Option<Outcome>, Fault>;

/// What the core is to make. Pure.
pub(crate) fn create_request(request: &CreateVmRequest) -> Result<CreateVm, Fault> {
    let mut checks = Checks::default();
    let image = IMAGES.id("image", &request.image, &mut checks);
    let name = checks.parse_given::<VmName>("vm_id", &request.vm_id);
    let image = Selector::from(image.unwrap_or_default());
    if !request.session.is_empty() {
        SESSIONS.id("session", &request.session, &mut checks);
    }
    let wanted = request.spec.clone().unwrap_or_default();
    let create = spec::create_vm(image, name, &wanted, &mut checks);
    checks.finish()?;
    Ok(create)
}

pub(super) async fn create(context: &Context, request: &CreateVmRequest) -> Outcomes {
    let made = match &context.operation.made {
        Some(id) => match show(context, id).await? {
            Some(vm) => vm,
            // it was whole once, and has come to its end since
            None => return Ok(None),
        },
        None => make_once(context, request).await?,
    };
    if !request.start {
        return outcome(&made);
    }
    if let Err(fault) = check_session(&context.backend, &made).await {
        undo_create(context).await?;
        return Err(fault);
    }
    let id = made.id.to_string();
    match context.phase(PhaseKind::Launch, boot(context, &id)).await {
        Ok(Some(vm)) => outcome(&vm),
        Ok(None) => Ok(None),
        Err(fault) => {
            undo_create(context).await?;
            Err(fault)
        }
    }
}

/// Makes the machine, unless a server before this one is still about to. What that
/// one left half made was removed before this one began to serve, but its last work
/// may end a little later than it does.
async fn make_once(context: &Context, request: &CreateVmRequest) -> Result<Vm, Fault> {
    let deadline = Instant::now() + SETTLING;
    let mut was_there = false;
    loop {
        if context.is_resumed()
            && let Some(vm) = left_behind(context, deadline).await?
        {
            return Ok(vm);
        }
        match make(context, request).await {
            Err(fault) if context.is_resumed() && is_taken(&fault) && !was_there => {
                let store = &context.backend.store;
                was_there = store.vm_of_operation(context.operation.id).await?.is_none();
                check_time(deadline, &request.vm_id)?;
                sleep(PAUSE).await;
            }
            made => return made,
        }
    }
}

fn is_taken(fault: &Fault) -> bool {
    fault.reason() == ErrorReason::VmExists
}

/// The machine that a server before this one made or still makes, when it is whole.
async fn left_behind(context: &Context, deadline: Instant) -> Result<Option<Vm>, Fault> {
    let store = &context.backend.store;
    while let Some(id) = store.vm_of_operation(context.operation.id).await? {
        let id = id.to_string();
        match show(context, &id).await? {
            Some(vm) if vm.state != VmState::Creating => return Ok(Some(vm)),
            Some(_) | None => {}
        }
        check_time(deadline, &id)?;
        sleep(PAUSE).await;
    }
    Ok(None)
}

async fn make(context: &Context, request: &CreateVmRequest) -> Result<Vm, Fault> {
    let mut create = create_request(request)?;
    let operation = context.operation.id.to_string();
    create.labels.insert(OPERATION_LABEL.to_owned(), operation);
    create.labels.extend(owner(context).await?);
    if let Some(session) = settled(&request.session, "sessions/") {
        let label = (SESSION_LABEL.to_owned(), session.to_owned());
        create.labels.extend([label]);
        check_session_of_id(&context.backend, session).await?;
    }
    let mut volumes = request.spec.clone().unwrap_or_default().volumes;
    // no others of their names since they were settled
    settle_volumes(&context.backend, &mut volumes, |_| true).await?;
    let vms = &context.backend.vms;
    let creating = vms.create(create, Lifetime::Detached, context.journal.as_ref());
    let created = context.phase(PhaseKind::Create, creating).await?;
    Ok(created.vm)
}

/// The label that says whose a machine is: nobody shares the making of one, so
/// whoever asked for it owns it.
pub(super) async fn owner(context: &Context) -> Result<Option<(String, String)>, Fault> {
    let store = &context.backend.store;
    let callers = store.callers_of_operation(context.operation.id).await?;
    let owner = callers.into_iter().next();
    Ok(owner.map(|owner| (OWNER_LABEL.to_owned(), owner)))
}

/// Fails when the session of a machine is over.
pub(crate) async fn check_session(backend: &Backend, vm: &Vm) -> Result<(), Fault> {
    match vm.spec.labels.get(SESSION_LABEL) {
        Some(id) => check_session_of_id(backend, id).await,
        None => Ok(()),
    }
}

pub(super) async fn check_session_of_id(backend: &Backend, id: &str) -> Result<(), Fault> {
    match backend.store.session_of_id(id).await? {
        Some(session) if session.is_over(&backend.clock.moment()) => Err(session_over(&session)),
        Some(_) => Ok(()),
        None => Err(session_not_found(id)),
    }
}

/// Removes a machine, whatever it does; not one that somebody is at work on, which is to
/// be tried again.
pub(super) async fn remove(backend: &Backend, id: &str) -> Result<(), Fault> {
    match backend.vms.delete(&Selector::from(id), true).await {
        Ok(_)
        | Err(DeleteVmError::Busy { .. } | DeleteVmError::Query(VmQueryError::NotFound { .. })) => {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Removes the machine that the operation made or is making, and waits until it is
/// gone.
pub(super) async fn undo_create(context: &Context) -> Result<(), Fault> {
    let deadline = Instant::now() + SETTLING;
    let backend = &context.backend;
    while let Some(id) = backend.store.vm_of_operation(context.operation.id).await? {
        let id = id.to_string();
        match show(context, &id).await? {
            // whoever makes it sees that it is not wanted any more
            None
            | Some(Vm {
                state: VmState::Creating,
                ..
            }) => {}
            Some(_) => remove(backend, &id).await?,
        }
        check_time(deadline, &id)?;
        sleep(PAUSE).await;
    }
    Ok(())
}

pub(super) async fn start(context: &Context, request: &StartVmRequest) -> Outcomes {
    let id = settled(&request.name, "vms/").unwrap_or_default();
    let session = settled(&request.session, "sessions/");
    if let Some(session) = session
        && let Err(over) = check_session_of_id(&context.backend, session).await
    {
        // a server before this one may have booted it
        undo_start(context, request).await?;
        return Err(over);
    }
    let Some(vm) = context.phase(PhaseKind::Launch, boot(context, id)).await? else {
        return Err(gone(id));
    };
    if let Some(session) = session
        && let Err(error) = bind_run(context, &vm, session).await
    {
        undo_start(context, request).await?;
        return Err(error);
    }
    outcome(&vm)
}

/// Binds what the operation began to a session. A session that ended meanwhile finds
/// it as the others.
async fn bind_run(context: &Context, vm: &Vm, session: &str) -> Result<(), Fault> {
    let session = session.parse().map_err(|_| session_not_found(session))?;
    match vm.started.filter(|_| is_begun_by(context, vm)) {
        Some(started) => {
            let store = &context.backend.store;
            Ok(store.bind_run(vm.id, started, session).await?)
        }
        None => Ok(()),
    }
}

/// Whether the machine's run began with the operation, and not before it.
fn is_begun_by(context: &Context, vm: &Vm) -> bool {
    vm.started
        .is_some_and(|started| context.operation.created <= started)
}

/// Ends a boot that was given up.
pub(super) async fn undo_start(context: &Context, request: &StartVmRequest) -> Result<(), Fault> {
    let id = settled(&request.name, "vms/").unwrap_or_default();
    let Some(vm) = show(context, id).await? else {
        return Ok(());
    };
    // one that ran before the operation began is not its own
    if is_begun_by(context, &vm) && matches!(vm.state, VmState::Starting | VmState::Running) {
        stop_now(context, id, Duration::ZERO).await?;
    }
    Ok(())
}

/// Boots a machine, or waits for a boot that somebody else began. None when it is
/// gone: it may have done what it was for.
async fn boot(context: &Context, id: &str) -> Result<Option<Vm>, Fault> {
    let deadline = Instant::now() + SETTLING;
    let vms = &context.backend.vms;
    loop {
        let Some(vm) = show(context, id).await? else {
            return Ok(None);
        };
        let ran = context.operation.created <= vm.created && vm.started.is_some();
        match vm.state {
            VmState::Running => return Ok(Some(vm)),
            VmState::Starting | VmState::Stopping | VmState::Creating | VmState::Deleting => {}
            // made for this operation, it came up and has ended since
            VmState::Stopped if ran && context.is_resumed() => return Ok(Some(vm)),
            _ => {
                let selector = Selector::from(id);
                let starting = vms.start(&selector, Lifetime::Detached, context.journal.as_ref());
                match starting.await {
                    Ok(started) => return Ok(Some(started.vm)),
                    Err(StartVmError::Busy { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        check_time(deadline, id)?;
        sleep(PAUSE).await;
    }
}

/// Fails unless the machine is as its caller knew it when the work begins. A server
/// that is gone may have begun it, and changed the machine.
async fn check_etag(context: &Context, id: &str, etag: &str) -> Result<(), Fault> {
    if etag.is_empty() || context.is_resumed() {
        return Ok(());
    }
    match show(context, id).await? {
        Some(vm) => Fault::unless_etag(&vm, etag),
        None => Ok(()),
    }
}

pub(super) async fn pause(context: &Context, request: &PauseVmRequest) -> Outcomes {
    let id = Selector::from(settled(&request.name, "vms/").unwrap_or_default());
    let pausing = context.backend.vms.pause(&id);
    outcome(&context.phase(PhaseKind::Update, pausing).await?)
}

pub(super) async fn resume(context: &Context, request: &ResumeVmRequest) -> Outcomes {
    let id = Selector::from(settled(&request.name, "vms/").unwrap_or_default());
    let resuming = context.backend.vms.resume(&id);
    outcome(&context.phase(PhaseKind::Update, resuming).await?)
}

pub(super) async fn stop(context: &Context, request: &StopVmRequest) -> Outcomes {
    let id = settled(&request.name, "vms/").unwrap_or_default();
    check_etag(context, id, &request.etag).await?;
    let grace = request
        .grace
        .and_then(|grace| Duration::try_from(grace).ok());
    let stopping = stop_now(context, id, grace.unwrap_or(GRACE));
    match context.phase(PhaseKind::Stop, stopping).await? {
        Some(vm) => outcome(&vm),
        // one that is removed when it stops, or that a server before this one stopped
        None => Ok(None),
    }
}

async fn stop_now(context: &Context, id: &str, grace: Duration) -> Result<Option<Vm>, Fault> {
    match context.backend.vms.stop(&Selector::from(id), grace).await {
        Ok(vm) => Ok(Some(vm)),
        Err(StopVmError::Query(VmQueryError::NotFound { .. })) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn delete(context: &Context, request: &DeleteVmRequest) -> Outcomes {
    let Some(id) = settled(&request.name, "vms/") else {
        return Ok(None);
    };
    check_etag(context, id, &request.etag).await?;
    let selector = Selector::from(id);
    let deleting = context.backend.vms.delete(&selector, request.force);
    match context.phase(PhaseKind::Delete, deleting).await {
        Ok(vm) => outcome(&vm),
        Err(DeleteVmError::Query(VmQueryError::NotFound { .. }))
            if request.allow_missing || context.is_resumed() =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The machine with that id, unless it is gone.
pub(super) async fn show(context: &Context, id: &str) -> Result<Option<Vm>, Fault> {
    match context.backend.vms.show(&Selector::from(id)).await {
        Ok(vm) => Ok(Some(vm)),
        Err(VmQueryError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it is what every sort of work ends with"
)]
pub(super) fn outcome(vm: &Vm) -> Outcomes {
    Ok(Some(Outcome::Vm(convert::vm::vm(vm))))
}

pub(super) fn gone(id: &str) -> Fault {
    let message = format!("VM {id} does not exist any more");
    Fault::new(ErrorReason::VmNotFound, message)
}

pub(super) fn check_time(deadline: Instant, id: &str) -> Result<(), Fault> {
    if Instant::now() < deadline {
        return Ok(());
    }
    let message = format!("somebody else was at work on VM {id} for more than {SETTLING:?}");
    Err(Fault::new(ErrorReason::WorkTimedOut, message))
}

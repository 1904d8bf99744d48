//! `banger vm run`.
//!
//! Invariants: once the VM exists, every way out passes [`end`] or
//! [`discard`], so that nothing runs on behind the user's back; should banger
//! be killed, the VM's lifeline closes: its monitor stops it, and with `--rm`
//! a VM that has no monitor yet is removed by the next command.

use std::time::Duration;

use banger_core::{
    domain::{Selector, Vm},
    vm::{CreateVm, CreatedVm, DeleteVmError, Lifetime, StartedVm, StopVmError, VmQueryError},
};

use crate::{
    context::Context,
    error::CliError,
    exit,
    requests::{ProcessRequest, RunRequest},
    session::{self, Ended},
    signals::Signals,
};

use super::{exec, find_image::find_image};

/// What the guest is given to shut down when its command has ended.
const GRACE: Duration = Duration::from_secs(5);

pub(in crate::commands) async fn run(
    context: &Context,
    signals: &mut Signals,
    request: RunRequest,
) -> Result<u8, CliError> {
    let process = request.process.clone();
    let lifetime = match process {
        None => Lifetime::Detached,
        Some(_) => Lifetime::BoundToCaller,
    };
    // the VM is this process's until it is started
    let CreatedVm {
        vm,
        lifeline: _creator,
    } = signals.guard(Box::pin(create(context, request))).await?;
    let started = match signals.guard(start(context, &vm, lifetime)).await {
        Ok(started) => started,
        Err(error) => {
            discard(context, &vm, &error).await;
            return Err(error);
        }
    };
    let Some(process) = process else {
        super::print(context, &started.vm).await?;
        return Ok(exit::SUCCESS);
    };
    let ended = attach(context, signals, &vm, process).await;
    end(context, signals, &vm, is_given_up(&ended)).await;
    drop(started.lifeline);
    let ended = ended?;
    exec::explain(context, ended).await?;
    Ok(ended.status())
}

async fn create(context: &Context, request: RunRequest) -> Result<CreatedVm, CliError> {
    let image = find_image(context, &request.target, &request.pull).await?;
    let create = CreateVm {
        image: Selector::from(image.id.to_string().as_str()),
        ..request.create
    };
    // what is to be kept after its run is kept without one too
    let lifetime = if create.remove_on_stop {
        Lifetime::BoundToCaller
    } else {
        Lifetime::Detached
    };
    let vms = &context.services.vms;
    Ok(vms.create(create, lifetime, &context.progress).await?)
}

const fn is_given_up(ended: &Result<Ended, CliError>) -> bool {
    matches!(ended, Ok(Ended::GivenUp(_)) | Err(CliError::Interrupted(_)))
}

async fn start(context: &Context, vm: &Vm, lifetime: Lifetime) -> Result<StartedVm, CliError> {
    let vms = &context.services.vms;
    Ok(vms.start(&by_id(vm), lifetime, &context.progress).await?)
}

async fn attach(
    context: &Context,
    signals: &mut Signals,
    vm: &Vm,
    process: ProcessRequest,
) -> Result<Ended, CliError> {
    let attachment = process.attachment;
    let session = signals
        .guard(exec::start(context, &by_id(vm), process))
        .await?;
    session::attach(session, &context.console, signals, attachment).await
}

fn by_id(vm: &Vm) -> Selector {
    Selector::from(vm.id.to_string().as_str())
}

/// Ends a VM whose command has ended. A failure is told, and does not take the
/// place of the command's status; the lifeline's end stops the VM all the same.
async fn end(context: &Context, signals: &mut Signals, vm: &Vm, given_up: bool) {
    let grace = if given_up { Duration::ZERO } else { GRACE };
    let stopped = tokio::select! {
        stopped = stop(context, vm, grace) => stopped,
        _again = signals.asks.next() => stop(context, vm, Duration::ZERO).await,
    };
    if let Err(error) = stopped {
        context.report(&error.into()).await;
    }
}

/// Stops a VM. One that is gone already because it was to be removed is fine.
async fn stop(context: &Context, vm: &Vm, grace: Duration) -> Result<(), StopVmError> {
    match context.services.vms.stop(&by_id(vm), grace).await {
        Err(StopVmError::Query(VmQueryError::NotFound { .. })) if vm.spec.remove_on_stop => Ok(()),
        stopped => stopped.map(drop),
    }
}

/// Leaves nothing behind of a VM that did not start: nothing that runs, and
/// with `--rm` nothing at all. Otherwise its record stays, to be looked at.
async fn discard(context: &Context, vm: &Vm, error: &CliError) {
    let discarded = if vm.spec.remove_on_stop {
        delete(context, vm).await.map_err(CliError::from)
    } else if matches!(error, CliError::Interrupted(_)) {
        stop(context, vm, Duration::ZERO)
            .await
            .map_err(CliError::from)
    } else {
        Ok(())
    };
    if let Err(error) = discarded {
        context.report(&error).await;
    }
}

async fn delete(context: &Context, vm: &Vm) -> Result<(), DeleteVmError> {
    match context.services.vms.delete(&by_id(vm), true).await {
        Err(DeleteVmError::Query(VmQueryError::NotFound { .. })) => Ok(()),
        deleted => deleted.map(drop),
    }
}

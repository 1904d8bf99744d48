//! Ending a VM through its monitor.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    StopVmError, in_words,
    lock::{is_held, take_within},
    monitor_call::{self, StopAnswer, nobody_listens, reach},
    supervisor::Host,
};
use crate::{
    domain::{Selector, Vm, VmExit, VmState},
    step::reached,
};

/// What the rungs after the grace period and the clearing up may take.
const LADDER_DEADLINE: Duration = Duration::from_secs(15);
/// How long a monitor may take to open its socket, or to end.
const MONITOR_DEADLINE: Duration = Duration::from_secs(5);
/// Between two tries to connect.
const PAUSE: Duration = Duration::from_millis(20);
/// Longest grace period: what lies beyond is as good as no limit.
const MAX_GRACE: Duration = Duration::from_hours(365 * 24);

/// Ends a VM; one that does not run is fine.
pub(super) async fn stop(
    host: &Host,
    selector: &Selector,
    grace: Duration,
) -> Result<Vm, StopVmError> {
    let vm = host.find(selector).await?;
    let last_try = Instant::now() + MONITOR_DEADLINE;
    let mut vm = vm;
    while is_up(vm.state) {
        if let Some(stopped) = try_stop(host, &vm, grace, last_try).await? {
            return Ok(stopped);
        }
        // a monitor that just started does not listen yet
        sleep(PAUSE).await;
        vm = match host.find(&Selector::from(vm.id.to_string().as_str())).await {
            Ok(vm) => vm,
            Err(super::VmQueryError::NotFound { .. }) => return Ok(ended(vm, true)),
            Err(error) => return Err(error.into()),
        };
    }
    Ok(vm)
}

/// Whether a VM in this state has a machine.
pub(super) const fn is_up(state: VmState) -> bool {
    matches!(
        state,
        VmState::Starting | VmState::Running | VmState::Paused | VmState::Stopping
    )
}

/// Asks the monitor once; none when it does not listen, yet or any more.
async fn try_stop(
    host: &Host,
    vm: &Vm,
    grace: Duration,
    last_try: Instant,
) -> Result<Option<Vm>, StopVmError> {
    let files = host.files(vm.id);
    let client = match reach(&files.socket(), &host.tasks).await {
        Ok(client) => client,
        Err(error) if nobody_listens(&error) && Instant::now() < last_try => return Ok(None),
        Err(error) => return Err(failed(vm, in_words(&error))),
    };
    let grace = grace.min(MAX_GRACE);
    reached("about to have a monitor end its machine");
    match monitor_call::stop(client, grace, grace + LADDER_DEADLINE).await {
        StopAnswer::Stopped { forced } => settled(host, vm, forced).await.map(Some),
        StopAnswer::Broken(_) if !held(host, vm)? => Ok(None),
        StopAnswer::Broken(problem) if last_try < Instant::now() => Err(failed(vm, problem)),
        StopAnswer::Broken(_) => Ok(None),
        StopAnswer::TimedOut => Err(StopVmError::TimedOut {
            name: vm.name.clone(),
            waited: grace + LADDER_DEADLINE,
        }),
    }
}

fn held(host: &Host, vm: &Vm) -> Result<bool, StopVmError> {
    is_held(&host.files(vm.id).directory).map_err(|source| StopVmError::Io {
        name: vm.name.clone(),
        source,
    })
}

/// Waits until the monitor is gone, so that the VM can be started or removed
/// at once, and answers the record.
async fn settled(host: &Host, vm: &Vm, forced: bool) -> Result<Vm, StopVmError> {
    reached("heard that a machine is down");
    let directory = host.files(vm.id).directory;
    let waited = take_within(&directory, MONITOR_DEADLINE).await;
    drop(waited.map_err(|source| StopVmError::Io {
        name: vm.name.clone(),
        source,
    })?);
    let stored = host.store().vm(vm.id).await.map_err(StopVmError::Store)?;
    Ok(stored.unwrap_or_else(|| ended(vm.clone(), forced)))
}

/// The last state of a VM that was removed because it stopped.
fn ended(mut vm: Vm, forced: bool) -> Vm {
    vm.state = VmState::Stopped;
    "it was removed because it stopped".clone_into(&mut vm.reason);
    vm.exit = Some(if forced {
        VmExit::Forced
    } else {
        VmExit::PoweredOff
    });
    vm
}

fn failed(vm: &Vm, problem: String) -> StopVmError {
    StopVmError::Monitor {
        name: vm.name.clone(),
        problem,
    }
}

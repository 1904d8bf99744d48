//! How a boot ended, and what is said of it: to its record, and to whoever
//! started it.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    ReadinessPipe,
    command::RunningCommand,
    console_watch::Fault,
    ladder::BroughtDown,
    machine::{Exited, MachineEvent, RunningMachine},
    orders::StopOrder,
};
use crate::{
    domain::{CommandEnd, VmExit},
    vm::{BootFailure, readiness::Readiness},
    vmm::network::PortRefused,
};

/// How long a machine may take to end by itself once its console told of a
/// fault or its channel broke.
const FAULT_DEADLINE: Duration = Duration::from_secs(2);
/// Why such a guest is brought down.
pub(super) const COMMAND_ENDED: &str = "its command ended";
/// Why a machine without its network is.
pub(super) const NETWORK_LOST: &str = "the helper of its network ended";

/// How a boot ended.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) exit: VmExit,
    pub(super) reason: String,
    /// What the starter is still to be told.
    pub(super) readiness: Option<(ReadinessPipe, Readiness)>,
}

pub(super) fn port_refused(pipe: ReadinessPipe, refused: PortRefused) -> Ending {
    let PortRefused { port, source } = refused;
    let cause = format!("port {} of the host: {source}", port.host_side());
    let readiness = Readiness::PortRefused {
        port: port.to_string(),
        errno: source.raw_os_error().unwrap_or_default(),
    };
    Ending {
        reason: format!("failed to boot at stage ports: {cause}"),
        exit: VmExit::VmmDied(cause),
        readiness: Some((pipe, readiness)),
    }
}

/// What is wrong with a machine whose channel or VMM broke, which is what the
/// end of a machine looks like.
pub(super) async fn fault_at_end(
    machine: &mut RunningMachine,
    stage: &str,
    problem: String,
) -> Fault {
    match timeout(FAULT_DEADLINE, machine.event()).await {
        Ok(event) => fault_of(event, machine.stage()),
        Err(_) => Fault {
            failure: BootFailure::Other,
            stage: stage.to_owned(),
            cause: problem,
        },
    }
}

pub(super) fn not_started(pipe: ReadinessPipe, fault: Fault) -> Ending {
    let readiness = Readiness::BootFailed {
        failure: fault.failure.as_str().to_owned(),
        stage: fault.stage.clone(),
        cause: fault.cause.clone(),
        console_tail: String::new(),
    };
    Ending {
        reason: format!("failed to boot at stage {}: {}", fault.stage, fault.cause),
        exit: VmExit::VmmDied(fault.cause),
        readiness: Some((pipe, readiness)),
    }
}

/// Ends a machine that will not come up; it gets a moment to do so itself, so
/// that its last words are complete.
pub(super) async fn boot_failed(
    mut machine: RunningMachine,
    fault: Fault,
    pipe: ReadinessPipe,
) -> Ending {
    let exited = end_after_fault(&mut machine).await;
    let readiness = failure(&machine, fault.clone());
    Ending {
        exit: VmExit::VmmDied(exited.description),
        reason: format!("failed to boot at stage {}: {}", fault.stage, fault.cause),
        readiness: Some((pipe, readiness)),
    }
}

pub(super) async fn ended_by_itself(mut machine: RunningMachine, event: MachineEvent) -> Ending {
    let exited = match event {
        MachineEvent::Exited(exited) => exited,
        MachineEvent::Fault(_) | MachineEvent::NetworkLost(_) => {
            end_after_fault(&mut machine).await
        }
    };
    if exited.in_order {
        return Ending {
            exit: VmExit::PoweredOff,
            reason: "it powered itself off".to_owned(),
            readiness: None,
        };
    }
    died(exited)
}

async fn end_after_fault(machine: &mut RunningMachine) -> Exited {
    if let Ok(exited) = timeout(FAULT_DEADLINE, machine.wait()).await {
        return exited;
    }
    machine.signal(rustix::process::Signal::KILL);
    machine.wait().await
}

pub(super) fn stopped(down: BroughtDown, order: StopOrder) -> Ending {
    let why = order.why;
    let (exit, reason) = match down {
        BroughtDown { forced: true, .. } => (VmExit::Forced, format!("{why} and ended by force")),
        BroughtDown { exited, .. } if exited.in_order => (VmExit::PoweredOff, why.to_owned()),
        BroughtDown { exited, .. } => return died(exited),
    };
    Ending {
        exit,
        reason,
        readiness: None,
    }
}

/// A machine whose network's helper ended was brought down: without, it could
/// not do what it is for, and another helper would not know its connections.
pub(super) fn without_network(ending: Ending, words: String) -> Ending {
    let how = match &ending.exit {
        VmExit::Forced => ", its machine by force",
        VmExit::VmmDied(_) => ", its machine out of order",
        _ => "",
    };
    Ending {
        reason: format!("{NETWORK_LOST} with {words}{how}"),
        exit: VmExit::NetworkLost(words),
        ..ending
    }
}

/// Waits for the end of a command; for ever where there is none.
pub(super) async fn end_of(command: &mut Option<RunningCommand>) -> CommandEnd {
    match command {
        Some(command) => command.ended().await,
        None => std::future::pending().await,
    }
}

/// The end of a machine that existed for a command is that of the command, if
/// that is known and came before the machine's.
pub(super) fn with_command(
    ending: Ending,
    command: Option<&mut RunningCommand>,
    why: &str,
) -> Ending {
    let was_first = why == COMMAND_ENDED;
    let Some(end) = command.and_then(RunningCommand::end) else {
        return ending;
    };
    let exit = VmExit::Command(end);
    match ending.exit {
        VmExit::PoweredOff if was_first => Ending {
            reason: format!("its command ended with {end}"),
            exit,
            ..ending
        },
        VmExit::PoweredOff => Ending {
            reason: format!("{}: its command ended with {end}", ending.reason),
            exit,
            ..ending
        },
        VmExit::Forced if was_first => Ending {
            reason: format!("its command ended with {end}, its machine by force"),
            exit,
            ..ending
        },
        _ => ending,
    }
}

fn died(exited: Exited) -> Ending {
    Ending {
        reason: format!("its machine ended out of order: {}", exited.description),
        exit: VmExit::VmmDied(exited.description),
        readiness: None,
    }
}

pub(super) fn fault_of(event: MachineEvent, stage: &str) -> Fault {
    match event {
        MachineEvent::Fault(fault) => fault,
        MachineEvent::Exited(exited) => Fault {
            failure: BootFailure::VmmDied,
            stage: stage.to_owned(),
            cause: format!("the machine ended: {}", exited.description),
        },
        MachineEvent::NetworkLost(words) => Fault {
            failure: BootFailure::Other,
            stage: stage.to_owned(),
            cause: format!("{NETWORK_LOST}: {words}"),
        },
    }
}

pub(super) fn failure(machine: &RunningMachine, fault: Fault) -> Readiness {
    Readiness::BootFailed {
        failure: fault.failure.as_str().to_owned(),
        stage: fault.stage,
        cause: fault.cause,
        console_tail: machine.console_tail(),
    }
}

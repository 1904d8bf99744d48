//! Process 1 while the machine runs: it reaps, and waits for the end.

use rustix::process::{Pid, WaitOptions};

use crate::{console, sys::signals::Held};

/// What asks the first process to power off: Ctrl-Alt-Del, and the signals that
/// the small init systems' `poweroff`, `halt` and `reboot` send.
const END_REQUESTS: [i32; 5] = [
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGPWR,
];

/// Holds back the signals that process 1 waits for, before any can be lost, and
/// has Ctrl-Alt-Del send one instead of resetting the machine.
pub(super) fn hold_signals() -> Held {
    let _ = rustix::system::reboot(rustix::system::RebootCommand::CadOff);
    let mut signals = END_REQUESTS.to_vec();
    signals.push(libc::SIGCHLD);
    Held::hold(&signals)
}

/// Reaps every orphan until the agent ends or someone asks for power-off.
pub(super) fn until_end(agent: Pid, held: Held) {
    loop {
        if let Some(signal) = held.wait(None)
            && END_REQUESTS.contains(&signal)
        {
            console::line(format_args!("signal {signal} asks for power-off"));
            return;
        }
        if reap_until(agent) {
            return;
        }
    }
}

/// Reaps all that have ended; says whether the agent is among them.
fn reap_until(agent: Pid) -> bool {
    let mut agent_ended = false;
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid == agent {
            agent_ended = true;
            if let Some(signal) = status.terminating_signal() {
                console::line(format_args!("the agent was ended by signal {signal}"));
            }
        }
    }
    agent_ended
}

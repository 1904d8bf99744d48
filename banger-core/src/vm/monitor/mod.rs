//! The process that owns one running VM.
//!
//! ```text
//! starter --lock, launch.json--> monitor --channel, console--> VMM
//!    ^------ one line (ready) ------'  '--<-- monitor.sock: stop, exec
//! ```
//!
//! Purpose: start the VMM, know when its agent answers, pass calls on to it,
//! bring it down, and record how it ended. Invariants: it holds the lock on
//! the VM's directory from before its first instruction to its last; the VMM
//! cannot outlive it (`PR_SET_PDEATHSIG`); the record is changed before
//! anybody is told. If it is killed, `reconcile` repairs what it left.
//! Entry points: [`run`], [`MonitorArguments`].

mod activity;
mod arguments;
mod boot_watch;
mod changes;
mod command;
mod console_log;
mod console_watch;
mod ending;
mod guest;
mod guest_link;
mod jail;
mod keep;
mod ladder;
mod lease_watch;
mod machine;
mod orders;
mod record;
mod server;
mod session;
mod usage;

use std::{fs::OpenOptions, io::Write as _, process::ExitCode, time::Duration};

use rustix::{process::getpid, thread::gettid};

use super::{in_words, readiness::Readiness};
use session::Session;

pub use arguments::{MonitorArguments, MonitorArgumentsError};

/// What work of other threads may take when the monitor ends.
const RUNTIME_DEADLINE: Duration = Duration::from_secs(1);

/// Runs a monitor to its end.
///
/// To be called on the main thread of a process that a [`super::VmSupervisor`]
/// started, outside any runtime, before anything else: the VMM is killed when
/// this thread ends. Standard output belongs to whoever started the process
/// and gets one line.
#[must_use]
pub fn run(arguments: &MonitorArguments) -> ExitCode {
    let pipe = ReadinessPipe {
        output: std::io::stdout(),
    };
    if gettid() != getpid() {
        return pipe.refuse("it does not run on its process's main thread".to_owned());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return pipe.refuse(in_words(&error)),
    };
    let code = runtime.block_on(monitor(arguments, pipe));
    runtime.shutdown_timeout(RUNTIME_DEADLINE);
    code
}

async fn monitor(arguments: &MonitorArguments, pipe: ReadinessPipe) -> ExitCode {
    match Session::prepare(arguments).await {
        Ok(session) => session.run(pipe).await,
        Err(problem) => pipe.refuse(problem),
    }
}

/// Standard output until its one line is written.
#[derive(Debug)]
struct ReadinessPipe {
    output: std::io::Stdout,
}

impl ReadinessPipe {
    /// Writes the line and lets go of the pipe, so that its reader sees the end.
    fn tell(self, readiness: &Readiness) {
        // whoever started this VM may be gone: that changes nothing
        let mut output = self.output.lock();
        drop(output.write_all(&readiness.to_line()));
        drop(output.flush());
        match OpenOptions::new().write(true).open("/dev/null") {
            Ok(null) => drop(rustix::stdio::dup2_stdout(null)),
            Err(error) => tracing::warn!(%error, "the readiness pipe stays open"),
        }
    }

    fn refuse(self, problem: String) -> ExitCode {
        self.tell(&Readiness::Refused { problem });
        ExitCode::FAILURE
    }
}

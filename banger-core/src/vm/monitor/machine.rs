//! A running machine as the monitor sees it: its process, and what its console
//! and its VMM say.
//!
//! Invariants: both outputs are read to their end, so that nothing the guest
//! does can block the VMM; what is kept of them is bounded.

use std::{
    process::ExitStatus,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use camino::Utf8Path;
use rustix::process::Signal;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    sync::watch,
};
use tokio_util::task::TaskTracker;

use super::{
    console_log::SharedLog,
    console_watch::{ConsoleWatch, Fault},
};
use crate::{
    process::last_lines,
    step::reached,
    vm::in_words,
    vmm::{
        BackendError, Channel, MetricsProbe, Spawned, VmmEvent, VmmOutput, VmmProcess, VmmRequest,
    },
};

/// Bytes of the VMM's own output that are kept.
const ERRORS_LIMIT: usize = 4096;
/// Bytes read at once.
const CHUNK: usize = 16 * 1024;
/// How long the outputs of an ended VMM may take to end.
const DRAIN_DEADLINE: Duration = Duration::from_secs(1);

/// A machine that was started.
#[derive(Debug)]
pub(super) struct RunningMachine {
    vmm: VmmProcess,
    heard: Arc<Mutex<Heard>>,
    faults: watch::Receiver<bool>,
    fault_told: bool,
    drains: TaskTracker,
}

/// What its outputs said so far.
#[derive(Debug, Default)]
struct Heard {
    console: ConsoleWatch,
    errors: Vec<u8>,
}

/// Something a machine does by itself.
#[derive(Debug)]
pub(super) enum MachineEvent {
    /// Its console told of a fault.
    Fault(Fault),
    /// Its VMM ended.
    Exited(Exited),
    /// What carried its network ended, with these last words; told once.
    NetworkLost(String),
}

/// The end of a VMM.
#[derive(Clone, Debug)]
pub(super) struct Exited {
    /// Whether it ended as one whose guest powered off.
    pub(super) in_order: bool,
    /// Its exit status or signal and its last words.
    pub(super) description: String,
}

impl RunningMachine {
    /// Starts a machine's VMM; answers it and the way to its guest.
    pub(super) fn start(
        request: &VmmRequest<'_>,
        log: SharedLog,
    ) -> Result<(Self, Channel), String> {
        let spawned = VmmProcess::spawn(request).map_err(|error| in_words(&error))?;
        let Spawned {
            process: vmm,
            output: VmmOutput { console, errors },
            channel,
        } = spawned;
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (fault_seen, faults) = watch::channel(false);
        let drains = TaskTracker::new();
        drop(drains.spawn(drain_console(console, log, heard.clone(), fault_seen)));
        drop(drains.spawn(drain_errors(errors, heard.clone())));
        drains.close();
        let running = Self {
            vmm,
            heard,
            faults,
            fault_told: false,
            drains,
        };
        Ok((running, channel))
    }

    /// Has its guest run; to be called once. Answers how long its network took, if
    /// something carries it, or why it does not run.
    pub(super) async fn launch(&mut self) -> Result<Option<Duration>, String> {
        match self.vmm.launch().await {
            Ok(network) => Ok(network),
            Err(BackendError::Ended { .. }) => {
                let exited = self.wait().await;
                Err(format!("the machine ended: {}", exited.description))
            }
            Err(error) => Err(in_words(&error)),
        }
    }

    /// Waits for the next thing the machine does. May be cancelled.
    pub(super) async fn event(&mut self) -> MachineEvent {
        let faulted = async {
            if self.fault_told || self.faults.wait_for(|seen| *seen).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = faulted => {}
            event = self.vmm.event() => match event {
                VmmEvent::Ended => {}
                VmmEvent::NetworkLost(words) => return MachineEvent::NetworkLost(words),
            },
        }
        // its last lines may be the fault that ended it
        let untold = if self.fault_told {
            None
        } else {
            self.fault_at_end().await
        };
        match untold {
            Some(fault) => {
                self.fault_told = true;
                MachineEvent::Fault(fault)
            }
            None => MachineEvent::Exited(self.wait().await),
        }
    }

    /// Waits for the end of the VMM. May be cancelled.
    pub(super) async fn wait(&mut self) -> Exited {
        let status = self.vmm.wait().await;
        reached("a VMM ended");
        self.exited(status).await
    }

    /// Waits until its VMM runs it, once.
    pub(super) async fn came_up(&mut self) -> Result<(), BackendError> {
        self.vmm.came_up().await
    }

    /// Stops its CPUs.
    pub(super) async fn pause(&mut self) -> Result<(), BackendError> {
        self.vmm.pause().await
    }

    /// Lets its CPUs go on.
    pub(super) async fn resume(&mut self) -> Result<(), BackendError> {
        self.vmm.resume().await
    }

    /// Keeps its state, while its CPUs stand still, in files in a directory.
    pub(super) async fn snapshot(&mut self, directory: &Utf8Path) -> Result<(), BackendError> {
        self.vmm.snapshot(directory).await
    }

    /// The process id of its VMM; none once it has ended.
    pub(super) fn vmm_id(&self) -> Option<u32> {
        self.vmm.id()
    }

    /// Asks for what its VMM counts; none where it counts nothing.
    pub(super) fn metrics(&self) -> Option<MetricsProbe> {
        self.vmm.metrics()
    }

    /// Presses its power button, once.
    pub(super) async fn press_power_button(&mut self) -> Result<(), BackendError> {
        self.vmm.press_power_button().await?;
        reached("pressed a power button");
        Ok(())
    }

    /// Signals the VMM.
    pub(super) fn signal(&self, signal: Signal) {
        self.vmm.signal(signal);
        reached("signalled a VMM");
    }

    /// The fault the console told of.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.hear(|heard| heard.console.fault().cloned())
    }

    /// How far the boot came, by the console.
    pub(super) fn stage(&self) -> &'static str {
        self.hear(|heard| heard.console.stage())
    }

    /// The end of the console.
    pub(super) fn console_tail(&self) -> String {
        self.hear(|heard| heard.console.tail())
    }

    /// The fault, read from a console that has ended or shows one already.
    async fn fault_at_end(&self) -> Option<Fault> {
        if self.fault().is_none() {
            self.drained().await;
        }
        self.fault()
    }

    async fn drained(&self) {
        if tokio::time::timeout(DRAIN_DEADLINE, self.drains.wait())
            .await
            .is_err()
        {
            tracing::warn!("an output of the ended VMM is still open");
        }
    }

    async fn exited(&self, status: std::io::Result<ExitStatus>) -> Exited {
        self.drained().await;
        let last_words = self.hear(|heard| last_lines(&heard.errors));
        let status_words = match &status {
            Ok(status) => status.to_string(),
            Err(error) => in_words(error),
        };
        let fault = self.fault();
        let (in_order, description) = match fault {
            Some(fault) => (false, fault.cause),
            None if last_words.is_empty() => (is_success(&status), status_words),
            None => (is_success(&status), format!("{status_words}: {last_words}")),
        };
        Exited {
            in_order,
            description,
        }
    }

    fn hear<T>(&self, look: impl FnOnce(&Heard) -> T) -> T {
        look(&self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_success(status: &std::io::Result<ExitStatus>) -> bool {
    status.as_ref().is_ok_and(ExitStatus::success)
}

async fn drain_console(
    mut console: impl AsyncRead + Unpin,
    log: SharedLog,
    heard: Arc<Mutex<Heard>>,
    fault_seen: watch::Sender<bool>,
) {
    let mut buffer = vec![0; CHUNK];
    while let Some(bytes) = next_chunk(&mut console, &mut buffer).await {
        // a full disk must not stop the guest
        if let Err(error) = lock(&log).write(bytes) {
            tracing::warn!(%error, "console output is lost");
        }
        let faulted = lock(&heard).console.feed(bytes);
        if faulted {
            fault_seen.send_replace(true);
        }
    }
}

async fn drain_errors(mut errors: impl AsyncRead + Unpin, heard: Arc<Mutex<Heard>>) {
    let mut buffer = vec![0; CHUNK];
    while let Some(bytes) = next_chunk(&mut errors, &mut buffer).await {
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.errors.extend_from_slice(bytes);
        let excess = heard.errors.len().saturating_sub(ERRORS_LIMIT);
        heard.errors.drain(..excess);
    }
}

async fn next_chunk<'a>(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &'a mut [u8],
) -> Option<&'a [u8]> {
    match stream.read(buffer).await {
        Ok(0) => None,
        Ok(count) => Some(&buffer[..count]),
        Err(error) => {
            tracing::warn!(%error, "an output of the VMM cannot be read");
            None
        }
    }
}

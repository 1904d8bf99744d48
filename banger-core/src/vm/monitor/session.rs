//! One boot of a VM, from the inherited lock to the recorded exit.

use std::{
    process::ExitCode,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    net::{UnixListener, UnixStream},
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    MonitorArguments, ReadinessPipe,
    console_log::{CONSOLE_LOG_LIMIT, ConsoleLog},
    console_watch::Fault,
    guest::{Greeting, greet},
    ladder::{BroughtDown, Ladder},
    machine::{Exited, MachineEvent, RunningMachine},
    orders::{self, Signals, StopOrder, watch_lifeline},
    record::{Record, RecordError, warn_of},
    server::{Outcome, Server},
};
use crate::{
    clock::{Clock, SystemClock},
    domain::{VmExit, VmState},
    host_fs::{FileLock, create_private_directory, remove_tree_if_present},
    store::Store,
    sys,
    vm::{files::VmFiles, http2::Http2Client, in_words, launch::Launch, readiness::Readiness},
};

/// How long a machine may take to end by itself once its console told of a
/// fault or its channel broke.
const FAULT_DEADLINE: Duration = Duration::from_secs(2);
/// How long tasks may take to end when the monitor does.
const CLOSING_DEADLINE: Duration = Duration::from_secs(2);

/// A monitor at work.
#[derive(Debug)]
pub(super) struct Session {
    launch: Launch,
    files: VmFiles,
    record: Record,
    clock: Arc<dyn Clock>,
    orders: mpsc::Receiver<StopOrder>,
    outcome: watch::Sender<Option<Outcome>>,
    guest: Arc<OnceLock<Http2Client>>,
    tracker: TaskTracker,
    closing: CancellationToken,
    _lock: FileLock,
}

/// How a boot ended.
#[derive(Debug)]
struct Ending {
    exit: VmExit,
    reason: String,
    /// What the starter is still to be told.
    readiness: Option<(ReadinessPipe, Readiness)>,
}

/// What ended the wait for the agent.
#[derive(Debug)]
enum BootEnd {
    Up(Greeting),
    Fault(Fault),
    Ordered(StopOrder),
}

impl Session {
    /// Takes the lock over, reads what to run, and marks the VM as starting.
    pub(super) async fn prepare(arguments: &MonitorArguments) -> Result<Self, String> {
        let lock = sys::adopt(arguments.lock).map_err(|error| in_words(&error))?;
        let lock = FileLock::from_inherited(lock);
        let signals = Signals::install().map_err(|error| in_words(&error))?;
        let launch = Launch::load(&arguments.launch).map_err(|error| in_words(&error))?;
        let store = Store::open(&launch.directories)
            .await
            .map_err(|error| in_words(&error))?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let record = Record::read(store, clock.clone(), launch.vm)
            .await
            .map_err(|error| in_words(&error))?;
        let (order_sender, orders) = orders::queue();
        let session = Self {
            files: VmFiles::new(&launch.directories, launch.vm),
            launch,
            record,
            clock,
            orders,
            outcome: watch::Sender::new(None),
            guest: Arc::default(),
            tracker: TaskTracker::new(),
            closing: CancellationToken::new(),
            _lock: lock,
        };
        session.open(signals, order_sender).await
    }

    /// Opens the VM's socket and everything else that orders come from.
    async fn open(
        mut self,
        signals: Signals,
        orders: mpsc::Sender<StopOrder>,
    ) -> Result<Self, String> {
        let choice = self.launch.backend.choice.clone();
        let starting = self.record.starting(choice).await;
        starting.map_err(|error| in_words(&error))?;
        match self.listen(signals, orders) {
            Ok(()) => Ok(self),
            Err(problem) => {
                let reason = format!("its monitor could not listen: {problem}");
                self.finish(VmExit::VmmDied(problem.clone()), reason).await;
                Err(problem)
            }
        }
    }

    fn listen(&self, signals: Signals, orders: mpsc::Sender<StopOrder>) -> Result<(), String> {
        remove_tree_if_present(&self.files.runtime).map_err(|error| in_words(&error))?;
        create_private_directory(&self.files.runtime).map_err(|error| in_words(&error))?;
        let socket = self.files.socket();
        let listener = UnixListener::bind(&socket).map_err(|error| format!("{socket}: {error}"))?;
        if self.launch.bound_to_caller {
            watch_lifeline(orders.clone(), &self.tracker, self.closing.clone())
                .map_err(|error| in_words(&error))?;
        }
        signals.watch(orders.clone(), &self.tracker, self.closing.clone());
        let server = Server {
            orders,
            outcome: self.outcome.subscribe(),
            guest: self.guest.clone(),
            tracker: self.tracker.clone(),
            closing: self.closing.clone(),
        };
        drop(self.tracker.spawn(server.serve(listener)));
        Ok(())
    }

    /// Runs the machine to its end.
    pub(super) async fn run(mut self, pipe: ReadinessPipe) -> ExitCode {
        let ending = self.live(pipe).await;
        self.finish(ending.exit, ending.reason).await;
        if let Some((pipe, readiness)) = ending.readiness {
            pipe.tell(&readiness);
        }
        ExitCode::SUCCESS
    }

    async fn live(&mut self, pipe: ReadinessPipe) -> Ending {
        let (mut machine, channel) = match self.start_machine() {
            Ok(started) => started,
            Err(cause) => return not_started(pipe, cause),
        };
        match self.boot(&mut machine, channel).await {
            BootEnd::Up(greeting) => self.up(machine, greeting, pipe).await,
            BootEnd::Fault(fault) => boot_failed(machine, fault, pipe).await,
            BootEnd::Ordered(order) => {
                let down = self.bring_down(&mut machine, order).await;
                let cause = "it was stopped while it booted".to_owned();
                let stage = machine.stage().to_owned();
                let mut ending = stopped(down, order);
                ending.readiness = Some((pipe, failure(&machine, Fault { stage, cause })));
                ending
            }
        }
    }

    fn start_machine(&self) -> Result<(RunningMachine, UnixStream), String> {
        let log = ConsoleLog::create(
            self.files.console_log(),
            self.files.older_console_log(),
            CONSOLE_LOG_LIMIT,
        );
        let log = log.map_err(|error| in_words(&error))?;
        RunningMachine::start(&self.launch.machine, &self.launch.backend, log)
    }

    /// Waits until the agent answers or cannot be expected to any more.
    async fn boot(&mut self, machine: &mut RunningMachine, channel: UnixStream) -> BootEnd {
        let deadline = self.launch.boot_deadline;
        let greeting = greet(channel, &self.tracker, self.clock.as_ref());
        let problem = tokio::select! {
            event = machine.event() => return BootEnd::Fault(fault_of(event, machine.stage())),
            Some(order) = self.orders.recv() => return BootEnd::Ordered(order),
            greeted = timeout(deadline, greeting) => match greeted {
                Ok(Ok(greeting)) => return BootEnd::Up(greeting),
                Ok(Err(problem)) => format!("the agent's channel broke: {problem}"),
                Err(_) => {
                    let cause = format!("the agent did not answer within {deadline:?}");
                    return BootEnd::Fault(Fault { stage: machine.stage().to_owned(), cause });
                }
            },
        };
        // a channel that breaks is what a machine that ends looks like
        BootEnd::Fault(match timeout(FAULT_DEADLINE, machine.event()).await {
            Ok(event) => fault_of(event, machine.stage()),
            Err(_) => Fault {
                stage: "agent".to_owned(),
                cause: problem,
            },
        })
    }

    /// The agent answers: serve until the machine ends.
    async fn up(
        &mut self,
        mut machine: RunningMachine,
        greeting: Greeting,
        pipe: ReadinessPipe,
    ) -> Ending {
        if let Err(error) = self.record.running(greeting.boot_id).await {
            let cause = format!("its record could not be changed: {}", in_words(&error));
            let stage = "record".to_owned();
            return boot_failed(machine, Fault { stage, cause }, pipe).await;
        }
        // it is set once, here
        drop(self.guest.set(greeting.client));
        pipe.tell(&Readiness::Ready);
        let order = tokio::select! {
            event = machine.event() => return ended_by_itself(machine, event).await,
            Some(order) = self.orders.recv() => order,
        };
        stopped(self.bring_down(&mut machine, order).await, order)
    }

    async fn bring_down(&mut self, machine: &mut RunningMachine, order: StopOrder) -> BroughtDown {
        let guest = self.guest.get().cloned();
        let ladder = Ladder::new(machine, &mut self.record, &mut self.orders, order);
        ladder.climb(guest).await
    }

    /// Records the end, frees everything and tells those who wait.
    async fn finish(&mut self, exit: VmExit, reason: String) {
        if let Err(error) = remove_tree_if_present(&self.files.runtime) {
            tracing::warn!(%error, "the runtime directory is left for the next reconcile");
        }
        let forced = exit == VmExit::Forced;
        warn_of(self.record_end(exit, reason).await);
        self.outcome.send_replace(Some(Outcome { forced }));
        self.closing.cancel();
        self.tracker.close();
        if timeout(CLOSING_DEADLINE, self.tracker.wait())
            .await
            .is_err()
        {
            tracing::warn!("a task of the monitor outlives it");
        }
    }

    async fn record_end(&mut self, exit: VmExit, reason: String) -> Result<(), RecordError> {
        if self.record.vm().state == VmState::Starting {
            self.record.boot_failed(exit, reason).await?;
        } else {
            self.record.ended(exit, reason).await?;
        }
        if self.record.vm().spec.remove_on_stop {
            self.record.deleting().await?;
            match self.files.remove() {
                Ok(()) => self.record.delete().await?,
                Err(error) => tracing::warn!(%error, "files are left for the next reconcile"),
            }
        }
        Ok(())
    }
}

fn not_started(pipe: ReadinessPipe, cause: String) -> Ending {
    let readiness = Readiness::BootFailed {
        stage: "machine".to_owned(),
        cause: cause.clone(),
        console_tail: String::new(),
    };
    Ending {
        reason: format!("failed to boot at stage machine: {cause}"),
        exit: VmExit::VmmDied(cause),
        readiness: Some((pipe, readiness)),
    }
}

/// Ends a machine that will not come up; it gets a moment to do so itself, so
/// that its last words are complete.
async fn boot_failed(mut machine: RunningMachine, fault: Fault, pipe: ReadinessPipe) -> Ending {
    let exited = end_after_fault(&mut machine).await;
    let readiness = failure(&machine, fault.clone());
    Ending {
        exit: VmExit::VmmDied(exited.description),
        reason: format!("failed to boot at stage {}: {}", fault.stage, fault.cause),
        readiness: Some((pipe, readiness)),
    }
}

async fn ended_by_itself(mut machine: RunningMachine, event: MachineEvent) -> Ending {
    let exited = match event {
        MachineEvent::Exited(exited) => exited,
        MachineEvent::Fault(_) => end_after_fault(&mut machine).await,
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

fn stopped(down: BroughtDown, order: StopOrder) -> Ending {
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

fn died(exited: Exited) -> Ending {
    Ending {
        reason: format!("its machine ended out of order: {}", exited.description),
        exit: VmExit::VmmDied(exited.description),
        readiness: None,
    }
}

fn fault_of(event: MachineEvent, stage: &str) -> Fault {
    match event {
        MachineEvent::Fault(fault) => fault,
        MachineEvent::Exited(exited) => Fault {
            stage: stage.to_owned(),
            cause: format!("the machine ended: {}", exited.description),
        },
    }
}

fn failure(machine: &RunningMachine, fault: Fault) -> Readiness {
    Readiness::BootFailed {
        stage: fault.stage,
        cause: fault.cause,
        console_tail: machine.console_tail(),
    }
}

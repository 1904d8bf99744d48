//! One boot of a VM, from the inherited lock to the recorded exit.

use std::{
    process::ExitCode,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::UnixListener,
    sync::{Notify, mpsc, watch},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    MonitorArguments, ReadinessPipe,
    activity::Activity,
    boot_watch::BootWatch,
    changes::{self, ChangeRequest, ChangeSender},
    command::{self, RunningCommand},
    console_log::{CONSOLE_LOG_LIMIT, ConsoleLog, SharedLog},
    console_watch::Fault,
    ending::{
        COMMAND_ENDED, Ending, NETWORK_LOST, boot_failed, end_of, ended_by_itself, failure,
        fault_at_end, fault_of, not_started, port_refused, stopped, with_command, without_network,
    },
    guest::{Greeting, Refusal, greet, greet_anew},
    guest_link::GuestLink,
    jail,
    keep::Keeper,
    ladder::{BroughtDown, Guest, Ladder},
    lease_watch::{LeaseWatch, deletes},
    machine::{MachineEvent, RunningMachine},
    orders::{self, Signals, StopOrder, watch_lifeline},
    record::{Record, RecordError, warn_of},
    server::{Outcome, Server},
};
use crate::{
    clock::{Clock, SystemClock},
    domain::{VmExit, VmState},
    error::ErrorKind,
    host_fs::{FileLock, create_private_directory, remove_tree_if_present},
    step::reached,
    store::{Connections, Store},
    sys,
    vm::{
        BootFailure,
        files::VmFiles,
        http2::Http2Client,
        in_words,
        launch::Launch,
        readiness::Readiness,
        volumes::{self, LockVolumeError},
    },
    vmm::{
        Channel, MetricsProbe, VmmRequest,
        network::{PortRefused, Reservation, reserve},
    },
};

/// What a guest gets to power off when its command has ended.
const COMMAND_GRACE: Duration = Duration::from_secs(10);
/// What a guest gets to power off when its network is gone.
const NETWORK_GRACE: Duration = Duration::from_secs(10);
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
    changes: mpsc::Receiver<ChangeRequest>,
    change_sender: ChangeSender,
    activity: Activity,
    vmm: Arc<AtomicU32>,
    metrics: Arc<OnceLock<MetricsProbe>>,
    boot_watch: BootWatch,
    /// Tells the socket's server that a boot is over.
    stir: Arc<Notify>,
    /// Whether its lease ended this boot and says that the VM is to go.
    delete_after_lease: bool,
    outcome: watch::Sender<Option<Outcome>>,
    guest: GuestLink,
    /// The channel of a guest until its agent answered; for one without an agent
    /// it stays open, so that it looks like any other to the VMM.
    channel: Option<Channel>,
    /// Whether keeping its state makes the agent come back on a new stream.
    is_renewed_by_snapshots: bool,
    /// What the machine exists for.
    command: Option<RunningCommand>,
    /// The locks on its volumes.
    volumes: Vec<FileLock>,
    tracker: TaskTracker,
    closing: CancellationToken,
    _lock: FileLock,
}

/// What ended the wait for the agent.
#[derive(Debug)]
enum BootEnd {
    Up(Option<Greeting>),
    Fault(Fault),
    Ordered(StopOrder),
}

impl Session {
    /// Takes the lock over, reads what to run, and marks the VM as starting.
    pub(super) async fn prepare(arguments: &MonitorArguments) -> Result<Self, String> {
        let lock = sys::adopt(arguments.lock).map_err(|error| in_words(&error))?;
        let lock = FileLock::from_inherited(lock);
        reached("took over the lock on a VM");
        let signals = Signals::install().map_err(|error| in_words(&error))?;
        let launch = Launch::load(&arguments.launch).map_err(|error| in_words(&error))?;
        let store = Store::open_with(&launch.directories, Connections::Shared)
            .await
            .map_err(|error| in_words(&error))?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let record = Record::read(store, clock.clone(), launch.vm)
            .await
            .map_err(|error| in_words(&error))?;
        let (order_sender, orders) = orders::queue();
        let (change_sender, changes) = changes::queue();
        let session = Self {
            files: VmFiles::new(&launch.directories, launch.vm),
            launch,
            record,
            clock,
            orders,
            changes,
            change_sender,
            activity: Activity::new(),
            vmm: Arc::default(),
            metrics: Arc::default(),
            boot_watch: BootWatch::start(),
            stir: Arc::default(),
            delete_after_lease: false,
            outcome: watch::Sender::new(None),
            guest: GuestLink::new(),
            channel: None,
            is_renewed_by_snapshots: false,
            command: None,
            volumes: Vec::new(),
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
        reached("made the runtime directory of a VM");
        let socket = self.files.socket();
        let listener = UnixListener::bind(&socket).map_err(|error| format!("{socket}: {error}"))?;
        reached("bound the socket of a monitor");
        if self.launch.bound_to_caller {
            watch_lifeline(orders.clone(), &self.tracker, self.closing.clone())
                .map_err(|error| in_words(&error))?;
        }
        signals.watch(orders.clone(), &self.tracker, self.closing.clone());
        let server = Server {
            orders,
            outcome: self.outcome.subscribe(),
            guest: self.guest.clone(),
            changes: self.change_sender.clone(),
            activity: self.activity.clone(),
            vmm: self.vmm.clone(),
            metrics: self.metrics.clone(),
            stir: self.stir.clone(),
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
        let reserved = match self.reserve_ports() {
            Ok(reserved) => reserved,
            Err(refused) => return port_refused(pipe, refused),
        };
        let log = match self.prepare_machine() {
            Ok(log) => log,
            Err(fault) => return not_started(pipe, fault),
        };
        let jail_id = match jail::reserve_user(&self.launch, &self.record).await {
            Ok(id) => id,
            Err(fault) => return not_started(pipe, fault),
        };
        self.boot_watch = BootWatch::start();
        let (mut machine, mut channel) = match self.start_machine(log.clone(), jail_id) {
            Ok(started) => started,
            Err(fault) => return not_started(pipe, fault),
        };
        let end = if self.launch.has_agent {
            self.boot(&mut machine, &mut channel).await
        } else {
            self.boot_without_agent(&mut machine).await
        };
        self.is_renewed_by_snapshots = self.launch.has_agent && channel.is_renewed_by_snapshots();
        self.channel = Some(channel);
        drop(reserved);
        reached("let go of the ports of a VM");
        match end {
            BootEnd::Up(greeting) => self.up(machine, greeting, log, pipe).await,
            BootEnd::Fault(fault) => boot_failed(machine, fault, pipe).await,
            BootEnd::Ordered(order) => {
                let down = self.bring_down(&mut machine, order).await;
                let cause = "it was stopped while it booted".to_owned();
                let stage = machine.stage().to_owned();
                let fault = Fault {
                    failure: BootFailure::Stopped,
                    stage,
                    cause,
                };
                let mut ending = stopped(down, order);
                ending.readiness = Some((pipe, failure(&machine, fault)));
                ending
            }
        }
    }

    /// Takes what the machine needs on the host for as long as it runs.
    fn prepare_machine(&mut self) -> Result<SharedLog, Fault> {
        let locked = volumes::lock(&self.launch.volumes);
        self.volumes = locked.map_err(|error| Fault {
            failure: match error {
                LockVolumeError::InUse { .. } => BootFailure::VolumeInUse,
                LockVolumeError::Io(_) => BootFailure::Volume,
            },
            stage: "volumes".to_owned(),
            cause: in_words(&error),
        })?;
        let log = ConsoleLog::create(self.files.clone(), self.clock.clone(), CONSOLE_LOG_LIMIT);
        let log = log.map_err(|error| Fault {
            failure: if error.kind() == ErrorKind::ResourceExhausted {
                BootFailure::HostDiskFull
            } else {
                BootFailure::Other
            },
            stage: "machine".to_owned(),
            cause: in_words(&error),
        })?;
        reached("made the log of a console");
        Ok(Arc::new(Mutex::new(log)))
    }

    /// Finds out whether the host's ports can be bound, and which they are.
    fn reserve_ports(&mut self) -> Result<Option<Reservation>, PortRefused> {
        let Some(network) = &mut self.launch.machine.network else {
            return Ok(None);
        };
        let reserved = reserve(&network.ports, &self.record.vm().ports)?;
        reached("bound the ports of a VM");
        network.ports = reserved.ports().to_vec();
        Ok(Some(reserved))
    }

    fn start_machine(
        &self,
        log: SharedLog,
        jail_id: Option<u32>,
    ) -> Result<(RunningMachine, Channel), Fault> {
        let request = VmmRequest {
            machine: &self.launch.machine,
            backend: &self.launch.backend,
            directory: &self.files.runtime,
            jail_id,
            snapshot: self.launch.snapshot.as_deref(),
        };
        let started = RunningMachine::start(&request, log).map_err(|cause| Fault {
            failure: BootFailure::VmmNotStarted,
            stage: "machine".to_owned(),
            cause,
        })?;
        let id = started.0.vmm_id().unwrap_or_default();
        self.vmm.store(id, Ordering::Relaxed);
        if let Some(probe) = started.0.metrics() {
            // a session starts one machine
            self.metrics.set(probe).ok();
        }
        Ok(started)
    }

    /// Waits until the agent answers or cannot be expected to any more.
    async fn boot(&mut self, machine: &mut RunningMachine, channel: &mut Channel) -> BootEnd {
        if let Some(end) = self.launch_machine(machine).await {
            return end;
        }
        let deadline = self.launch.boot_deadline;
        let greeting = async {
            if self.launch.snapshot.is_some() {
                return greet_anew(channel, &self.tracker, self.clock.as_ref()).await;
            }
            let stream = channel.open().await;
            let stream = stream.map_err(|error| Refusal::Broken(in_words(&error)))?;
            greet(stream, &self.tracker, self.clock.as_ref()).await
        };
        let problem = tokio::select! {
            event = machine.event() => return BootEnd::Fault(fault_of(event, machine.stage())),
            Some(order) = self.orders.recv() => return BootEnd::Ordered(order),
            greeted = timeout(deadline, greeting) => match greeted {
                Ok(Ok(greeting)) => {
                    let booted = self.launch.snapshot.is_none();
                    self.boot_watch.answered(booted.then_some(greeting.times));
                    return BootEnd::Up(Some(greeting));
                }
                Ok(Err(Refusal::Outdated(cause))) => {
                    return BootEnd::Fault(Fault {
                        failure: BootFailure::Other,
                        stage: "agent".to_owned(),
                        cause,
                    });
                }
                Ok(Err(Refusal::Broken(problem))) => format!("the agent's channel broke: {problem}"),
                Err(_) => {
                    let cause = format!("the agent did not answer within {deadline:?}");
                    return BootEnd::Fault(Fault {
                        failure: BootFailure::NoAnswer,
                        stage: machine.stage().to_owned(),
                        cause,
                    });
                }
            },
        };
        BootEnd::Fault(fault_at_end(machine, "agent", problem).await)
    }

    /// Has the guest run; answers what kept it from that.
    async fn launch_machine(&mut self, machine: &mut RunningMachine) -> Option<BootEnd> {
        let launched = tokio::select! {
            launched = machine.launch() => launched,
            Some(order) = self.orders.recv() => return Some(BootEnd::Ordered(order)),
        };
        let cause = match launched {
            Ok(network) => {
                self.boot_watch.launched(network);
                return None;
            }
            Err(cause) => cause,
        };
        machine.signal(rustix::process::Signal::KILL);
        Some(BootEnd::Fault(Fault {
            failure: BootFailure::VmmNotStarted,
            stage: "machine".to_owned(),
            cause,
        }))
    }

    /// Waits until the VMM runs the machine: more cannot be known of it.
    async fn boot_without_agent(&mut self, machine: &mut RunningMachine) -> BootEnd {
        if let Some(end) = self.launch_machine(machine).await {
            return end;
        }
        let deadline = self.launch.boot_deadline;
        let problem = tokio::select! {
            up = timeout(deadline, machine.came_up()) => match up {
                Ok(Ok(())) => return BootEnd::Up(None),
                Ok(Err(error)) => in_words(&error),
                Err(_) => format!("its VMM did not answer within {deadline:?}"),
            },
            Some(order) = self.orders.recv() => return BootEnd::Ordered(order),
        };
        BootEnd::Fault(fault_at_end(machine, "machine", problem).await)
    }

    /// The machine is up: serve until it ends.
    async fn up(
        &mut self,
        machine: RunningMachine,
        greeting: Option<Greeting>,
        log: SharedLog,
        pipe: ReadinessPipe,
    ) -> Ending {
        let has_agent = self.launch.has_agent;
        let network = self.launch.machine.network.as_ref();
        let ports = network.map(|network| network.ports.clone());
        let (boot_id, client) = greeting
            .map(|greeting| (greeting.boot_id, greeting.client))
            .unzip();
        if let Err(fault) = self.start_command(client.clone(), log).await {
            return boot_failed(machine, fault, pipe).await;
        }
        let reason = self.launch.purpose.reason.clone();
        let running = self
            .record
            .running(boot_id, ports.unwrap_or_default(), reason);
        if let Err(error) = running.await {
            let cause = format!("its record could not be changed: {}", in_words(&error));
            let fault = Fault {
                failure: BootFailure::Other,
                stage: "record".to_owned(),
                cause,
            };
            return boot_failed(machine, fault, pipe).await;
        }
        if let (Some(client), Some(channel)) = (client, self.channel.take_if(|_| has_agent)) {
            self.guest.set(client);
            let (clock, closing) = (self.clock.clone(), self.closing.clone());
            self.guest.keep_up(channel, clock, &self.tracker, closing);
        }
        let times = self.boot_watch.times();
        pipe.tell(&Readiness::Ready { times });
        self.stir.notify_one();
        reached("told that a machine is up");
        self.serve(machine).await
    }

    /// Starts what the machine exists for, if that is a command.
    async fn start_command(
        &mut self,
        guest: Option<Http2Client>,
        log: SharedLog,
    ) -> Result<(), Fault> {
        if let (Some(guest), Some(command)) = (guest, &self.launch.purpose.command) {
            let context = command::Context {
                log,
                links: self.guest.changes(),
                tracker: &self.tracker,
                closing: self.closing.clone(),
            };
            self.command = Some(command::start(guest, command, context).await?);
        }
        Ok(())
    }

    /// Does what is asked of a machine that is up, until it ends.
    async fn serve(&mut self, mut machine: RunningMachine) -> Ending {
        // the time without a call starts now
        drop(self.activity.begin());
        loop {
            let watch = LeaseWatch {
                clock: self.clock.as_ref(),
                activity: &self.activity,
                guest: &self.guest,
            };
            let look = sleep(watch.pause(self.record.vm().spec.lease.as_ref()));
            let order = tokio::select! {
                event = machine.event() => {
                    if let MachineEvent::NetworkLost(words) = event {
                        return self.end_without_network(machine, words).await;
                    }
                    let ending = ended_by_itself(machine, event).await;
                    return with_command(ending, self.command.as_mut(), "it powered itself off");
                }
                Some(order) = self.orders.recv() => Some(order),
                _ = end_of(&mut self.command) => Some(StopOrder {
                    grace: COMMAND_GRACE,
                    why: COMMAND_ENDED,
                }),
                Some(request) = self.changes.recv() => self.change(request, &mut machine).await,
                () = look => {
                    let expired = watch.look(&mut self.record).await;
                    let lease = self.record.vm().spec.lease.as_ref();
                    self.delete_after_lease = expired.is_some() && deletes(lease);
                    expired
                }
            };
            if let Some(order) = order {
                // nothing but its end can be asked of it any more
                self.changes.close();
                let ending = stopped(self.bring_down(&mut machine, order).await, order);
                return with_command(ending, self.command.as_mut(), order.why);
            }
        }
    }

    /// Does what is asked of the machine, unless it is told to end first.
    async fn change(
        &mut self,
        request: ChangeRequest,
        machine: &mut RunningMachine,
    ) -> Option<StopOrder> {
        let keeper = Keeper {
            launch: &self.launch,
            link: self.is_renewed_by_snapshots.then(|| self.guest.changes()),
        };
        tokio::select! {
            biased;
            Some(order) = self.orders.recv() => Some(order),
            () = request.serve(machine, &mut self.record, keeper) => None,
        }
    }

    /// Brings a machine down in order whose network is gone.
    async fn end_without_network(&mut self, mut machine: RunningMachine, words: String) -> Ending {
        self.changes.close();
        let order = StopOrder {
            grace: NETWORK_GRACE,
            why: NETWORK_LOST,
        };
        let ending = stopped(self.bring_down(&mut machine, order).await, order);
        without_network(ending, words)
    }

    async fn bring_down(&mut self, machine: &mut RunningMachine, order: StopOrder) -> BroughtDown {
        let guest = match self.guest.get() {
            Some(client) => Guest::Agent(client),
            None if self.record.vm().state == VmState::Starting => Guest::Booting,
            None => Guest::WithoutAgent,
        };
        let ladder = Ladder::new(machine, &mut self.record, &mut self.orders, order);
        let ladder = ladder.with_command(self.command.as_mut());
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
        reached("told that a machine is down");
        self.closing.cancel();
        self.tracker.close();
        if timeout(CLOSING_DEADLINE, self.tracker.wait())
            .await
            .is_err()
        {
            tracing::warn!("a task of the monitor outlives it");
        }
        reached("closed the socket of a monitor");
    }

    async fn record_end(&mut self, exit: VmExit, reason: String) -> Result<(), RecordError> {
        if self.record.vm().state == VmState::Starting {
            self.record.boot_failed(exit, reason).await?;
        } else {
            self.record.ended(exit, reason).await?;
        }
        if self.record.vm().spec.remove_on_stop || self.delete_after_lease {
            self.record.deleting().await?;
            match self.files.remove() {
                Ok(()) => self.record.delete().await?,
                Err(error) => tracing::warn!(%error, "files are left for the next reconcile"),
            }
        }
        Ok(())
    }
}

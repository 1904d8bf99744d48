//! A running VMM: the seam between banger and its backends.
//!
//! ```text
//! spawn -> launch -> (pause -> [snapshot] -> resume)* -> wait
//! ```
//!
//! Purpose: what the monitor asks of a machine, whatever runs it. Invariants:
//! the guest runs no instruction before [`VmmProcess::launch`] when the machine
//! comes from a snapshot or its VMM is told what to run by questions; every
//! method has a deadline of its own, but [`VmmProcess::wait`]; a method that
//! was given up on may be called again.
//! Entry points: [`VmmProcess::spawn`], [`VmmRequest`].

use std::{
    io,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    process::{Child, ChildStderr, ChildStdout, Command},
    time::timeout,
};

use super::{
    BackendError, Channel, ChosenBackend, Machine, MetricsProbe, firecracker,
    jail::{Confinement, spawn_kept},
    network::{
        self, HelperRequest, NetworkHelper,
        namespace::{Enclosure, enclose, enclose_as_root},
    },
    qemu,
};
use crate::{
    domain::{BackendKind, PublishedPort},
    process::command,
    step::reached,
    sys,
};

/// How long a VMM that no longer answers may take to be gone.
const EXIT_DEADLINE: Duration = Duration::from_secs(1);

/// What is to be run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VmmRequest<'a> {
    /// The machine.
    pub(crate) machine: &'a Machine,
    /// What runs it.
    pub(crate) backend: &'a ChosenBackend,
    /// A private directory, empty but for files of others, for the VMM's
    /// sockets; see [`sockets`].
    pub(crate) directory: &'a Utf8Path,
    /// The user and group of its jail, which no other process has, if the
    /// backend has one.
    pub(crate) jail_id: Option<u32>,
    /// A directory that [`VmmProcess::snapshot`] filled, for a machine that
    /// goes on from there; none for one that boots. The machine must be
    /// described as the one that was kept; its disks' files may be others with
    /// the same content. Nothing in the directory is changed, and it must stay
    /// as it is for as long as the machine runs.
    pub(crate) snapshot: Option<&'a Utf8Path>,
}

/// A VMM, the leader of its own process group. It is killed when this is
/// dropped, and by the kernel when the thread that spawned it ends.
#[derive(Debug)]
pub(crate) struct VmmProcess {
    child: Child,
    /// What ends the VMM with this process, where it cannot be asked for that
    /// itself: the first process of its namespace.
    keeper: Option<Child>,
    control: Control,
    network: Network,
}

/// A user network beside the VMM.
#[derive(Debug)]
enum Network {
    /// The VMM has it in itself, or the machine has none.
    None,
    /// To be carried by a helper once the machine is launched.
    Wanted {
        program: Option<Utf8PathBuf>,
        in_user_namespace: bool,
        directory: Utf8PathBuf,
        ports: Vec<PublishedPort>,
    },
    /// Carried by a helper, which ends with this.
    Carried(Box<NetworkHelper>),
    /// Carried by a helper that has ended.
    Ended,
}

/// Something that ends by itself.
#[derive(Debug)]
pub(crate) enum VmmEvent {
    /// The VMM, and the machine with it.
    Ended,
    /// The helper without which the machine has no network, by its last words.
    /// Told once.
    NetworkLost(String),
}

/// A VMM that was just started.
#[derive(Debug)]
pub(crate) struct Spawned {
    /// Its process.
    pub(crate) process: VmmProcess,
    /// What it says; to be read to its end.
    pub(crate) output: VmmOutput,
    /// The way to its guest.
    pub(crate) channel: Channel,
}

/// What a VMM says.
#[derive(Debug)]
pub(crate) struct VmmOutput {
    /// The guest's serial console.
    pub(crate) console: ChildStdout,
    /// The VMM's own complaints.
    pub(crate) errors: ChildStderr,
}

/// How a VMM is told what to do.
#[derive(Debug)]
enum Control {
    Qemu(qemu::Machine),
    Firecracker(firecracker::Machine),
}

/// A VMM's command, and what the host keeps of it.
struct Prepared {
    command: Command,
    control: Control,
    channel: Channel,
    confinement: Option<Confinement>,
}

/// The sockets that a VMM of any kind may have in `directory`.
pub(crate) fn sockets(directory: &Utf8Path) -> Vec<Utf8PathBuf> {
    let names = qemu::SOCKETS.iter().chain(&firecracker::SOCKETS);
    let own = names.map(|name| directory.join(name));
    own.chain([network::socket_path(directory)]).collect()
}

impl Network {
    /// Has a VMM that cannot carry a user network live in namespaces of its own.
    fn enclose(
        command: &mut Command,
        request: &VmmRequest<'_>,
    ) -> io::Result<(Self, Option<Enclosure>)> {
        let backend = request.backend;
        let Some(network) = &request.machine.network else {
            return Ok((Self::None, None));
        };
        if backend.choice.kind == BackendKind::Qemu {
            return Ok((Self::None, None));
        }
        let wanted = Self::Wanted {
            program: backend.network_helper.clone(),
            in_user_namespace: backend.jail.is_none(),
            directory: request.directory.to_owned(),
            ports: network.ports.clone(),
        };
        let enclosure = match backend.jail {
            None => enclose(command)?,
            // the jailer is still root, and has to be where the host is
            Some(_) => enclose_as_root(command)?,
        };
        Ok((wanted, Some(enclosure)))
    }

    /// Starts the helper, if one is wanted and not at work; answers how long that
    /// took.
    async fn carry(&mut self, vmm: Option<u32>) -> Result<Option<Duration>, BackendError> {
        let Self::Wanted {
            program,
            in_user_namespace,
            directory,
            ports,
        } = self
        else {
            return Ok(None);
        };
        let since = Instant::now();
        let request = HelperRequest {
            program: program.as_deref(),
            vmm: vmm.unwrap_or_default(),
            in_user_namespace: *in_user_namespace,
            directory,
            ports,
        };
        let helper = NetworkHelper::join(&request).await?;
        *self = Self::Carried(Box::new(helper));
        Ok(Some(since.elapsed()))
    }

    /// Waits until the helper ended by itself; for ever where there is none. May
    /// be cancelled and called again.
    async fn lost(&mut self) -> String {
        let Self::Carried(helper) = self else {
            return std::future::pending().await;
        };
        let words = helper.ended().await;
        *self = Self::Ended;
        words
    }

    /// Ends the helper of a machine that has ended.
    async fn end(&mut self) {
        if let Self::Carried(helper) = self {
            helper.end().await;
            *self = Self::Ended;
        }
    }
}

impl Prepared {
    fn of(request: &VmmRequest<'_>) -> Result<Self, BackendError> {
        if let (BackendKind::Firecracker, Some(jail)) =
            (request.backend.choice.kind, &request.backend.jail)
        {
            let (command, machine, channel, confinement) =
                firecracker::prepare_jailed(request, jail)?;
            return Ok(Self {
                command,
                control: Control::Firecracker(machine),
                channel,
                confinement: Some(confinement),
            });
        }
        let command = command(&request.backend.program);
        let (command, control, channel) = match request.backend.choice.kind {
            BackendKind::Qemu => {
                let (command, machine, channel) = qemu::prepare(command, request)?;
                (command, Control::Qemu(machine), channel)
            }
            BackendKind::Firecracker => {
                let (command, machine, channel) = firecracker::prepare(command, request)?;
                (command, Control::Firecracker(machine), channel)
            }
        };
        Ok(Self {
            command,
            control,
            channel,
            confinement: None,
        })
    }
}

/// A VMM's process, with what ends it and what it complains by if it is jailed.
struct Started {
    child: Child,
    keeper: Option<Child>,
    complaints: Option<ChildStderr>,
}

impl Started {
    fn by(mut command: Command, confinement: Option<Confinement>) -> io::Result<Self> {
        let Some(confinement) = confinement else {
            sys::die_with_parent(&mut command);
            return Ok(Self {
                child: command.spawn()?,
                keeper: None,
                complaints: None,
            });
        };
        let complaints = confinement.confine(&mut command)?;
        let (keeper, child) = spawn_kept(&mut command)?;
        Ok(Self {
            child,
            keeper: Some(keeper),
            complaints: Some(complaints),
        })
    }
}

impl VmmProcess {
    /// Starts the process. To be called on a thread that lives as long as the
    /// machine shall.
    pub(crate) fn spawn(request: &VmmRequest<'_>) -> Result<Spawned, BackendError> {
        let failed = |source| BackendError::Spawn {
            program: request.backend.program.to_string(),
            source,
        };
        let Prepared {
            mut command,
            control,
            channel,
            confinement,
        } = Prepared::of(request)?;
        command
            .env_clear()
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let (network, enclosure) = Network::enclose(&mut command, request).map_err(failed)?;
        let started = Started::by(command, confinement);
        let Started {
            mut child,
            keeper,
            complaints,
        } = started.map_err(|source| {
            let refused = enclosure.and_then(|mut enclosure| enclosure.failure());
            refused.map_or_else(|| failed(source), BackendError::Network)
        })?;
        reached("started a VMM");
        let errors = complaints.or_else(|| child.stderr.take());
        let (Some(console), Some(errors)) = (child.stdout.take(), errors) else {
            return Err(failed(io::ErrorKind::BrokenPipe.into()));
        };
        tracing::debug!(id = child.id().unwrap_or_default(), "the VMM was started");
        Ok(Spawned {
            process: Self {
                child,
                keeper,
                control,
                network,
            },
            output: VmmOutput { console, errors },
            channel,
        })
    }

    /// Has the guest boot, or go on from its snapshot, and returns when it
    /// runs; answers how long the start of what carries its network took, if
    /// there is such. To be called once, first; a machine that cannot be launched
    /// is of no further use.
    pub(crate) async fn launch(&mut self) -> Result<Option<Duration>, BackendError> {
        let Self {
            child,
            control,
            network,
            ..
        } = self;
        let vmm = child.id();
        let launching = async {
            let network = network.carry(vmm).await?;
            match control {
                Control::Qemu(machine) => machine.launch().await,
                Control::Firecracker(machine) => machine.launch().await,
            }
            .map(|()| network)
        };
        let launched = tokio::select! {
            biased;
            launched = launching => launched,
            status = child.wait() => return Err(ended(status)),
        };
        match launched {
            Err(error) if error.may_be_the_end() => {
                let status = timeout(EXIT_DEADLINE, child.wait()).await;
                Err(status.map_or(error, ended))
            }
            Ok(network) => {
                reached("launched a machine");
                tracing::debug!("the machine was launched");
                Ok(network)
            }
            Err(error) => Err(error),
        }
    }

    /// Waits for the end, of what carries its network, too. May be cancelled and
    /// called again.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await;
        if let Some(mut keeper) = self.keeper.take()
            && let Err(error) = keeper.kill().await
        {
            tracing::warn!(%error, "the keeper of a jail was not ended");
        }
        self.network.end().await;
        status
    }

    /// Waits until something ends by itself. May be cancelled and called again.
    pub(crate) async fn event(&mut self) -> VmmEvent {
        let Self { child, network, .. } = self;
        tokio::select! {
            biased;
            _ = child.wait() => VmmEvent::Ended,
            words = network.lost() => VmmEvent::NetworkLost(words),
        }
    }

    /// Waits until the machine that was launched runs, as far as its VMM knows.
    pub(crate) async fn came_up(&mut self) -> Result<(), BackendError> {
        match &mut self.control {
            Control::Qemu(machine) => machine.came_up().await,
            // the launch waited for it
            Control::Firecracker(_) => Ok(()),
        }
    }

    /// Presses the machine's power button: an event for its guest, which need
    /// not heed it. (Firecracker has no such button, and Ctrl-Alt-Del is typed
    /// instead.)
    pub(crate) async fn press_power_button(&mut self) -> Result<(), BackendError> {
        match &mut self.control {
            Control::Qemu(machine) => machine.press_power_button().await,
            Control::Firecracker(machine) => machine.press_power_button().await,
        }
    }

    /// Stops the guest's time. Does nothing to a guest whose time stands.
    pub(crate) async fn pause(&mut self) -> Result<(), BackendError> {
        match &mut self.control {
            Control::Qemu(machine) => machine.pause().await,
            Control::Firecracker(machine) => machine.pause().await,
        }
    }

    /// Lets the guest's time go on. Does nothing to a guest that runs.
    pub(crate) async fn resume(&mut self) -> Result<(), BackendError> {
        match &mut self.control {
            Control::Qemu(machine) => machine.resume().await,
            Control::Firecracker(machine) => machine.resume().await,
        }
    }

    /// Keeps the state of a paused guest, memory included, in files in
    /// `directory`, private to their owner and written back when this returns.
    /// The disks' content is not among them. The guest stays paused; once it
    /// is resumed the channel may have to be opened anew. What failed or was
    /// given up on leaves incomplete files there.
    pub(crate) async fn snapshot(&mut self, directory: &Utf8Path) -> Result<(), BackendError> {
        match &mut self.control {
            Control::Qemu(machine) => machine.snapshot(directory).await,
            Control::Firecracker(machine) => {
                let vmm = self.child.id().unwrap_or_default();
                machine.snapshot(directory, vmm).await
            }
        }
    }

    /// Asks for what the VMM counts; none where it counts nothing.
    pub(crate) fn metrics(&self) -> Option<MetricsProbe> {
        match &self.control {
            Control::Qemu(_) => None,
            Control::Firecracker(machine) => Some(machine.metrics()),
        }
    }

    /// Its process id; none once it was waited for.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Sends a signal to the VMM's whole group, unless it has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        // an id is only known while the child has not been waited for, so the
        // number cannot belong to anybody else
        let group = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = group.and_then(Pid::from_raw)
            && let Err(error) = kill_process_group(group, signal)
        {
            tracing::debug!(%error, "the VMM could not be signalled");
        }
    }
}

fn ended(status: io::Result<ExitStatus>) -> BackendError {
    BackendError::Ended {
        status: match status {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        },
    }
}

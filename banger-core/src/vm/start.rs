//! Starting a VM: prepare its boot under its lock, hand the lock to a monitor,
//! wait for the monitor's line.
//!
//! Invariants: the lock is never free between the check and the monitor's
//! first instruction; from the moment the monitor runs, the VM is its.

use std::{
    fs::File,
    io::{self, PipeWriter},
    os::fd::AsFd as _,
    process::Stdio,
    sync::Arc,
    thread,
    time::Duration,
};

use banger_proto::{
    GUEST_GENERATION,
    guest::v1::{
        BootConfig, ImageInit, NetworkInterface, OverlayRoot, PlainRoot, RootDisk,
        root_disk::Layout,
    },
};
use prost::Message as _;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::Child,
    time::timeout,
};

use super::{
    BootFailure, BootTimes, Lifeline, Lifetime, PrepareBootError, StartVmError, StartedVm,
    VmQueryError,
    create::backend,
    files::{VmFiles, tail_of},
    in_words,
    launch::Launch,
    lease,
    lifecycle::{VmEvent, step},
    lock::{Taken, take},
    monitor::MonitorArguments,
    preparation::{check_artifacts, check_guest_program, check_memory},
    purpose::Purpose,
    readiness::{LINE_LIMIT, Readiness},
    reconcile::repair,
    supervisor::Host,
    volumes::attach,
    wait::last_record,
};
use crate::{
    domain::{BootMode, Image, NetworkMode, RootDiskMode, Selector, Vm},
    host_fs::{FileLock, IoContext as _, PathError},
    initrd::{InitrdRequest, boot_config_archive, build},
    process::command,
    progress::{ProgressEvent, ProgressSink},
    step::reached,
    sys,
    task::off_thread,
    vmm::{
        Acceleration, ChosenBackend, Disk, GuestView, HardwareAddress, Machine, MachineNetwork,
        network::plan::{GATEWAY, GUEST, PREFIX, RESOLVER},
        time_stamp_khz,
    },
};

/// What a monitor may need beside the boot itself: opening the store before,
/// ending the machine and recording the failure after.
const MONITOR_OVERHEAD: Duration = Duration::from_secs(20);
/// How long a monitor that told of a failure may take to end.
const MONITOR_EXIT_DEADLINE: Duration = Duration::from_secs(5);
/// Bytes of the monitor's log that go into an error.
const MONITOR_LOG_TAIL: usize = 1024;

/// The port of the channel, as the guest finds it.
const CHANNEL_PORT: &str = "banger.agent";
/// Serial number of the image's disk.
const BASE_SERIAL: &str = "banger-base";
/// Serial number of the disk that takes the writes.
const WRITABLE_SERIAL: &str = "banger-writable";
/// Serial number of a disk that is both.
const ROOT_SERIAL: &str = "banger-root";
/// Where a kernel without banger's init finds its root: on the first disk
/// (Linux Documentation/admin-guide/kernel-parameters.txt).
const NATIVE_ROOT: &str = "root=/dev/vda rw";
/// What a guest needs to reach its disks and entropy.
const WANTED_MODULES: [&str; 5] = ["virtio_mmio", "virtio_blk", "virtio_rng", "ext4", "overlay"];
/// What a guest needs besides to reach a network.
const NETWORK_MODULE: &str = "virtio_net";

/// Boots a VM.
pub(super) async fn start(
    host: &Arc<Host>,
    selector: &Selector,
    lifetime: Lifetime,
    progress: &dyn ProgressSink,
) -> Result<StartedVm, StartVmError> {
    let vm = host.find(selector).await?;
    check_startable(&vm)?;
    let lock = lock(host, &vm).await?;
    reached("locked a VM");
    let vm = host.refreshed(&vm).await?;
    check_startable(&vm)?;
    if lease::is_over(&vm, host.options.clock.as_ref()) {
        return Err(StartVmError::LeaseOver { name: vm.name });
    }
    let image = image(host, &vm).await?;
    let backend = backend(host, vm.spec.backend, vm.spec.network).await?;
    progress.emit(ProgressEvent::BackendChosen {
        backend: backend.choice.kind.as_str(),
        reason: backend.choice.reason.clone(),
    });
    let files = host.files(vm.id);
    files.check_socket_path().map_err(io_error(&vm))?;
    let purpose = Purpose::of(&vm.spec, &image.run_config).map_err(boot_error(&vm))?;
    let mut launch = launch(host, &vm, &image, backend, lifetime);
    launch.purpose = purpose;
    let lock = prepare(host, &vm, image, launch, lock).await?;
    hand_over(host, vm, lifetime, lock, progress).await
}

/// Has a VM that was just made go on from what was kept of another.
pub(super) async fn start_kept(
    host: &Arc<Host>,
    vm: &Vm,
    mut launch: Launch,
    lifetime: Lifetime,
    progress: &dyn ProgressSink,
) -> Result<StartedVm, StartVmError> {
    let lock = lock(host, vm).await?;
    let vm = host.refreshed(vm).await?;
    check_startable(&vm)?;
    let files = host.files(vm.id);
    files.check_socket_path().map_err(io_error(&vm))?;
    if let Some(network) = &mut launch.machine.network {
        network.ports.clone_from(&vm.spec.ports);
    }
    launch.boot_deadline = host.boot_deadline;
    launch.bound_to_caller = lifetime == Lifetime::BoundToCaller;
    let save = move || launch.save(&files.launch());
    off_thread(save).await.map_err(io_error(&vm))?;
    hand_over(host, vm, lifetime, lock, progress).await
}

/// Gives a VM and its lock to a monitor, and waits until it is up.
async fn hand_over(
    host: &Arc<Host>,
    vm: Vm,
    lifetime: Lifetime,
    lock: FileLock,
    progress: &dyn ProgressSink,
) -> Result<StartedVm, StartVmError> {
    progress.emit(ProgressEvent::Booting);
    let (monitor, lifeline) = spawn_monitor(host, &vm, lifetime, lock)?;
    let times = wait_until_ready(host, &vm, monitor).await?;
    reached("heard that a machine is up");
    progress.emit(ProgressEvent::Booted { times });
    if vm.spec.boot_mode.has_agent() {
        progress.emit(ProgressEvent::AgentReady);
    }
    Ok(StartedVm {
        vm: now(host, vm).await?,
        lifeline: lifeline.map(|pipe| Lifeline {
            _descriptor: pipe.into(),
        }),
    })
}

/// The record of a VM that was up. One that lives for a short command may have
/// ended meanwhile, and be gone with it.
async fn now(host: &Host, vm: Vm) -> Result<Vm, StartVmError> {
    match host.refreshed(&vm).await {
        Err(gone @ VmQueryError::NotFound { .. }) if vm.spec.remove_on_stop => {
            let last = last_record(host, vm).await.map_err(StartVmError::Store)?;
            last.ok_or_else(|| gone.into())
        }
        refreshed => Ok(refreshed?),
    }
}

fn check_startable(vm: &Vm) -> Result<(), StartVmError> {
    match step(vm.state, &VmEvent::StartRequested) {
        Ok(_) => Ok(()),
        Err(_) => Err(wrong_state(vm)),
    }
}

fn wrong_state(vm: &Vm) -> StartVmError {
    StartVmError::WrongState {
        name: vm.name.clone(),
        state: vm.state,
    }
}

async fn lock(host: &Host, vm: &Vm) -> Result<FileLock, StartVmError> {
    let directory = host.files(vm.id).directory;
    match take(&directory).await.map_err(io_error(vm))? {
        Taken::Ours(lock) => Ok(lock),
        Taken::Held => {
            // the other call may have been a start that got its monitor
            check_startable(&host.refreshed(vm).await?)?;
            Err(StartVmError::Busy {
                name: vm.name.clone(),
            })
        }
        Taken::NoDirectory => {
            let missing = io::Error::from(io::ErrorKind::NotFound);
            Err(io_error(vm)(PathError::new("lock", &directory, missing)))
        }
    }
}

async fn image(host: &Host, vm: &Vm) -> Result<Image, StartVmError> {
    let image = host.image(vm.image).await;
    image.map_err(|error| boot_error(vm)(error.into()))
}

fn launch(
    host: &Host,
    vm: &Vm,
    image: &Image,
    backend: ChosenBackend,
    lifetime: Lifetime,
) -> Launch {
    let files = host.files(vm.id);
    let has_agent = vm.spec.boot_mode.has_agent();
    let disk = |path, serial: &str, read_only| Disk {
        path,
        serial: serial.to_owned(),
        read_only,
    };
    Launch {
        vm: vm.id,
        directories: host.options.directories.clone(),
        machine: Machine {
            vcpus: vm.spec.vcpus,
            memory: vm.spec.memory,
            kernel: image.boot.kernel.clone(),
            initrd: if has_agent {
                Some(files.initrd())
            } else {
                image.boot.initrd.clone()
            },
            kernel_arguments: (!has_agent).then(|| NATIVE_ROOT.to_owned()),
            disks: match vm.spec.root_disk {
                RootDiskMode::Overlay => vec![
                    disk(image.rootfs.clone(), BASE_SERIAL, true),
                    disk(files.writable_disk(), WRITABLE_SERIAL, false),
                ],
                RootDiskMode::Clone => vec![disk(files.root_disk, ROOT_SERIAL, false)],
            },
            network: network(vm),
            time_stamp_khz: None,
            channel_port: CHANNEL_PORT.to_owned(),
        },
        backend,
        has_agent,
        volumes: Vec::new(),
        purpose: Purpose::default(),
        snapshot: None,
        boot_deadline: host.boot_deadline,
        bound_to_caller: lifetime == Lifetime::BoundToCaller,
    }
}

fn network(vm: &Vm) -> Option<MachineNetwork> {
    match vm.spec.network {
        NetworkMode::None => None,
        NetworkMode::User => Some(MachineNetwork {
            hardware_address: HardwareAddress::of(vm.id),
            ports: vm.spec.ports.clone(),
        }),
    }
}

/// Writes what the boot needs. The work holds the lock and ends even when the
/// caller gives up, so that nobody else writes the same files meanwhile.
async fn prepare(
    host: &Host,
    vm: &Vm,
    image: Image,
    mut launch: Launch,
    lock: FileLock,
) -> Result<FileLock, StartVmError> {
    let files = host.files(vm.id);
    let program = host.options.guest_program.clone();
    let volumes = vm.spec.volumes.clone();
    let root_disk = vm.spec.root_disk;
    let shared = root_disk == RootDiskMode::Overlay;
    let mut guest = guest_config(vm);
    let work = move || {
        check_artifacts(&image.boot.kernel, shared.then_some(&image.rootfs))?;
        // beside all else: it takes 20 ms, mostly of sleep
        let is_emulated = launch.backend.acceleration == Acceleration::Software;
        let speed = is_emulated.then(|| thread::spawn(time_stamp_khz));
        let attached = attach(&launch.directories, &files, &volumes)?;
        launch.machine.disks.extend(attached.disks);
        launch.volumes = attached.locks;
        if launch.has_agent {
            check_guest_program(&program)?;
            let network = launch.machine.network.as_ref();
            let view = GuestView(launch.backend.choice.kind);
            let mut serials = view.serials(&launch.machine.disks)?.into_iter();
            guest.root = Some(RootDisk {
                layout: Some(layout(root_disk, &mut serials)),
            });
            guest.volumes = attached.guest;
            for (volume, serial) in guest.volumes.iter_mut().zip(serials) {
                volume.serial = serial;
            }
            guest.network = network.map(interface);
            guest.channel_vsock_port = view.channel_vsock_port().unwrap_or_default();
            guest.ends_by_reset = view.ends_by_reset();
            let mut wanted = [&WANTED_MODULES, view.channel_modules()].concat();
            wanted.extend(network.map(|_| NETWORK_MODULE));
            let request = InitrdRequest {
                guest_program: &program,
                modules: image.boot.modules.as_deref(),
                wanted: &wanted,
                wished: view.button_modules(),
            };
            let archive = initrd(&request, guest)?;
            let machine = &launch.machine;
            check_memory(machine.memory, &machine.kernel, archive.len() as u64)?;
            let path = files.initrd();
            std::fs::write(&path, archive).at("write", &path)?;
            reached("wrote the initrd of a boot");
        }
        launch.machine.time_stamp_khz = speed.and_then(|speed| speed.join().ok().flatten());
        launch.save(&files.launch())?;
        Ok(lock)
    };
    off_thread(work).await.map_err(boot_error(vm))
}

/// How the guest is to join its disks, by what it knows them by.
fn layout(root_disk: RootDiskMode, serials: &mut impl Iterator<Item = String>) -> Layout {
    let mut next = || serials.next().unwrap_or_default();
    match root_disk {
        RootDiskMode::Overlay => Layout::Overlay(OverlayRoot {
            base_serial: next(),
            writable_serial: next(),
        }),
        RootDiskMode::Clone => Layout::Plain(PlainRoot { serial: next() }),
    }
}

/// What the guest is to make of its interface.
fn interface(network: &MachineNetwork) -> NetworkInterface {
    NetworkInterface {
        hardware_address: network.hardware_address.to_string(),
        address: GUEST.to_string(),
        prefix_length: PREFIX.into(),
        gateway: GATEWAY.to_string(),
        resolvers: vec![RESOLVER.to_string()],
    }
}

/// What the guest's init is told, but for what the initrd holds.
fn guest_config(vm: &Vm) -> BootConfig {
    let image_init = (vm.spec.boot_mode == BootMode::Init).then(|| ImageInit {
        argv: vm.spec.process.argv.clone(),
    });
    BootConfig {
        generation: GUEST_GENERATION,
        hostname: vm.name.to_string(),
        channel_port: CHANNEL_PORT.to_owned(),
        image_init,
        ..BootConfig::default()
    }
}

fn initrd(
    request: &InitrdRequest<'_>,
    mut configuration: BootConfig,
) -> Result<Vec<u8>, PrepareBootError> {
    let initrd = build(request).map_err(PrepareBootError::Initrd)?;
    configuration.modules = initrd.module_paths;
    let mut archive = initrd.archive;
    archive.extend(boot_config_archive(&configuration.encode_to_vec()));
    Ok(archive)
}

/// Starts the monitor and gives it the lock.
fn spawn_monitor(
    host: &Host,
    vm: &Vm,
    lifetime: Lifetime,
    lock: FileLock,
) -> Result<(Child, Option<PipeWriter>), StartVmError> {
    let files = host.files(vm.id);
    let program = &host.options.monitor;
    let failed = |error: io::Error| {
        let error = in_words(&error);
        monitor_error(vm)(format!("{} could not be started: {error}", program.program))
    };
    let log = monitor_log(&files).map_err(io_error(vm))?;
    reached("made the log of a monitor");
    let (stdin, lifeline) = standard_input(lifetime).map_err(failed)?;
    let mut command = command(&program.program);
    let inherited = lock.as_fd().try_clone_to_owned().map_err(failed)?;
    let number = sys::inherit(&mut command, inherited);
    sys::start_session(&mut command);
    command
        .args(&program.arguments)
        .args(MonitorArguments::command_line(&files.launch(), number))
        .current_dir("/")
        .kill_on_drop(false)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(log);
    let child = command.spawn().map_err(failed)?;
    reached("started a monitor");
    // the monitor has it now: the lock ends with the last of its descriptors
    drop(lock);
    reached("left a VM to its monitor");
    Ok((child, lifeline))
}

fn monitor_log(files: &VmFiles) -> Result<File, PathError> {
    let path = files.monitor_log();
    File::create(&path).at("create", &path)
}

/// A monitor's standard input: a pipe whose end is the caller's end.
fn standard_input(lifetime: Lifetime) -> io::Result<(Stdio, Option<PipeWriter>)> {
    match lifetime {
        Lifetime::Detached => Ok((Stdio::null(), None)),
        Lifetime::BoundToCaller => {
            let (reader, writer) = io::pipe()?;
            Ok((reader.into(), Some(writer)))
        }
    }
}

async fn wait_until_ready(
    host: &Arc<Host>,
    vm: &Vm,
    mut monitor: Child,
) -> Result<BootTimes, StartVmError> {
    let deadline = host.boot_deadline + MONITOR_OVERHEAD;
    let Ok(readiness) = timeout(deadline, readiness(&mut monitor)).await else {
        return Err(monitor_error(vm)(format!(
            "it told nothing within {deadline:?}"
        )));
    };
    if let Some(Readiness::Ready { times }) = readiness {
        return Ok(times);
    }
    // it is about to end; then the VM is free for whatever comes next
    let status = timeout(MONITOR_EXIT_DEADLINE, monitor.wait()).await;
    Err(match readiness {
        Some(Readiness::BootFailed {
            failure,
            stage,
            cause,
            console_tail,
        }) => StartVmError::BootFailed {
            name: vm.name.clone(),
            failure: BootFailure::named(&failure).unwrap_or(BootFailure::Other),
            stage,
            cause,
            console_tail,
        },
        Some(Readiness::PortRefused { port, errno }) => port_error(vm, &port, errno),
        Some(Readiness::Refused { problem }) => monitor_error(vm)(problem),
        Some(Readiness::Ready { .. }) | None => {
            let status = match status {
                Ok(Ok(status)) => status.to_string(),
                Ok(Err(error)) => in_words(&error),
                Err(_) => "no exit".to_owned(),
            };
            died(host, vm, &status).await
        }
    })
}

/// The monitor's one line.
async fn readiness(monitor: &mut Child) -> Option<Readiness> {
    let stdout = monitor.stdout.take()?;
    let mut line = Vec::new();
    let mut reader = BufReader::new(stdout.take(LINE_LIMIT as u64));
    reader.read_until(b'\n', &mut line).await.ok()?;
    Readiness::from_line(&line)
}

/// A monitor ended without a word.
async fn died(host: &Host, vm: &Vm, status: &str) -> StartVmError {
    let said = tail_of(&host.files(vm.id).monitor_log(), MONITOR_LOG_TAIL);
    if let Err(error) = repair(host, vm.id).await {
        let error = in_words(&error);
        tracing::warn!(error, "a VM is left for the next reconcile");
    }
    monitor_error(vm)(format!("it ended with {status}: {}", said.trim()))
}

fn monitor_error(vm: &Vm) -> impl Fn(String) -> StartVmError {
    let name = vm.name.clone();
    move |problem| StartVmError::Monitor {
        name: name.clone(),
        problem,
    }
}

fn port_error(vm: &Vm, port: &str, errno: i32) -> StartVmError {
    let source = io::Error::from_raw_os_error(errno);
    match port.parse() {
        Ok(port) => StartVmError::Port {
            name: vm.name.clone(),
            port,
            source,
        },
        Err(error) => monitor_error(vm)(format!("{error}: {source}")),
    }
}

fn boot_error(vm: &Vm) -> impl Fn(PrepareBootError) -> StartVmError {
    let name = vm.name.clone();
    move |source| StartVmError::Boot {
        name: name.clone(),
        source: Box::new(source),
    }
}

fn io_error(vm: &Vm) -> impl Fn(PathError) -> StartVmError {
    let name = vm.name.clone();
    move |source| StartVmError::Io {
        name: name.clone(),
        source,
    }
}

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
    time::Duration,
};

use banger_proto::{
    GUEST_GENERATION,
    guest::v1::{BootConfig, OverlayRoot, PlainRoot, RootDisk, root_disk::Layout},
};
use prost::Message as _;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::Child,
    time::timeout,
};

use super::{
    Lifeline, Lifetime, StartVmError, StartedVm,
    create::backend,
    files::{VmFiles, tail_of},
    in_words,
    launch::Launch,
    lifecycle::{VmEvent, step},
    lock::{Taken, take},
    monitor::MonitorArguments,
    readiness::{LINE_LIMIT, Readiness},
    reconcile::repair,
    supervisor::Host,
};
use crate::{
    domain::{BootArtifacts, Image, RootDiskMode, Selector, Vm},
    host_fs::{FileLock, IoContext as _, PathError},
    initrd::{InitrdRequest, boot_config_archive, build},
    process::command,
    progress::{ProgressEvent, ProgressSink},
    sys,
    task::off_thread,
    vmm::{Acceleration, ChosenBackend, Disk, Machine, time_stamp_khz},
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
/// What a guest needs to reach its disks, the channel and entropy.
const WANTED_MODULES: [&str; 6] = [
    "virtio_mmio",
    "virtio_blk",
    "virtio_console",
    "virtio_rng",
    "ext4",
    "overlay",
];
/// What lets a guest hear its power button.
const WISHED_MODULES: [&str; 2] = ["evdev", "button"];

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
    let vm = host.refreshed(&vm).await?;
    check_startable(&vm)?;
    let image = image(host, &vm).await?;
    let backend = backend(host, vm.spec.backend).await?;
    progress.emit(ProgressEvent::BackendChosen {
        backend: backend.choice.kind.as_str(),
        reason: backend.choice.reason.clone(),
    });
    let files = host.files(vm.id);
    files.check_socket_path().map_err(io_error(&vm))?;
    let launch = launch(host, &vm, &image, backend, lifetime);
    let lock = prepare(host, &vm, image.boot, launch, lock).await?;
    progress.emit(ProgressEvent::Booting);
    let (monitor, lifeline) = spawn_monitor(host, &vm, lifetime, lock)?;
    wait_until_ready(host, &vm, monitor).await?;
    progress.emit(ProgressEvent::AgentReady);
    Ok(StartedVm {
        vm: host.refreshed(&vm).await?,
        lifeline: lifeline.map(|pipe| Lifeline {
            _descriptor: pipe.into(),
        }),
    })
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
    image.map_err(|error| boot_error(vm)(in_words(&error)))
}

fn launch(
    host: &Host,
    vm: &Vm,
    image: &Image,
    backend: ChosenBackend,
    lifetime: Lifetime,
) -> Launch {
    let files = host.files(vm.id);
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
            initrd: files.initrd(),
            disks: match vm.spec.root_disk {
                RootDiskMode::Overlay => vec![
                    disk(image.rootfs.clone(), BASE_SERIAL, true),
                    disk(files.writable_disk(), WRITABLE_SERIAL, false),
                ],
                RootDiskMode::Clone => vec![disk(files.root_disk, ROOT_SERIAL, false)],
            },
            time_stamp_khz: None,
            channel_port: CHANNEL_PORT.to_owned(),
        },
        backend,
        boot_deadline: host.boot_deadline,
        bound_to_caller: lifetime == Lifetime::BoundToCaller,
    }
}

/// Writes what the boot needs. The work holds the lock and ends even when the
/// caller gives up, so that nobody else writes the same files meanwhile.
async fn prepare(
    host: &Host,
    vm: &Vm,
    boot: BootArtifacts,
    mut launch: Launch,
    lock: FileLock,
) -> Result<FileLock, StartVmError> {
    let files = host.files(vm.id);
    let program = host.options.guest_program.clone();
    let (hostname, layout) = (vm.name.to_string(), layout(vm.spec.root_disk));
    let work = move || {
        let request = InitrdRequest {
            guest_program: &program,
            modules: boot.modules.as_deref(),
            wanted: &WANTED_MODULES,
            wished: &WISHED_MODULES,
        };
        let archive = initrd(&request, hostname, layout)?;
        if launch.backend.acceleration == Acceleration::Software {
            launch.machine.time_stamp_khz = time_stamp_khz();
        }
        let path = files.initrd();
        let written = std::fs::write(&path, archive).at("write", &path);
        let saved = written.and_then(|()| launch.save(&files.launch()));
        saved.map_err(|error| in_words(&error))?;
        Ok(lock)
    };
    off_thread(work).await.map_err(boot_error(vm))
}

/// How the guest is to join its disks.
fn layout(root_disk: RootDiskMode) -> Layout {
    match root_disk {
        RootDiskMode::Overlay => Layout::Overlay(OverlayRoot {
            base_serial: BASE_SERIAL.to_owned(),
            writable_serial: WRITABLE_SERIAL.to_owned(),
        }),
        RootDiskMode::Clone => Layout::Plain(PlainRoot {
            serial: ROOT_SERIAL.to_owned(),
        }),
    }
}

fn initrd(
    request: &InitrdRequest<'_>,
    hostname: String,
    layout: Layout,
) -> Result<Vec<u8>, String> {
    let initrd = build(request).map_err(|error| in_words(&error))?;
    let configuration = BootConfig {
        generation: GUEST_GENERATION,
        hostname,
        modules: initrd.module_paths,
        root: Some(RootDisk {
            layout: Some(layout),
        }),
        channel_port: CHANNEL_PORT.to_owned(),
    };
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
    // the monitor has it now: the lock ends with the last of its descriptors
    drop(lock);
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
) -> Result<(), StartVmError> {
    let deadline = host.boot_deadline + MONITOR_OVERHEAD;
    let Ok(readiness) = timeout(deadline, readiness(&mut monitor)).await else {
        return Err(monitor_error(vm)(format!(
            "it told nothing within {deadline:?}"
        )));
    };
    if readiness == Some(Readiness::Ready) {
        return Ok(());
    }
    // it is about to end; then the VM is free for whatever comes next
    let status = timeout(MONITOR_EXIT_DEADLINE, monitor.wait()).await;
    Err(match readiness {
        Some(Readiness::BootFailed {
            stage,
            cause,
            console_tail,
        }) => StartVmError::BootFailed {
            name: vm.name.clone(),
            stage,
            cause,
            console_tail,
        },
        Some(Readiness::Refused { problem }) => monitor_error(vm)(problem),
        Some(Readiness::Ready) | None => {
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

fn boot_error(vm: &Vm) -> impl Fn(String) -> StartVmError {
    let name = vm.name.clone();
    move |problem| StartVmError::Boot {
        name: name.clone(),
        problem,
    }
}

fn io_error(vm: &Vm) -> impl Fn(PathError) -> StartVmError {
    let name = vm.name.clone();
    move |source| StartVmError::Io {
        name: name.clone(),
        source,
    }
}

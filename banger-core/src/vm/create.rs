//! Making a VM: its record and its disks.
//!
//! Order: everything that can be refused, then directory + lock + record
//! (state creating), then the disks, then the record says created. Whatever
//! goes wrong after the record was made removes it and the files again. A VM
//! bound to its creator has a lock file that the creator holds: once that is
//! free, a VM that was never started is nobody's.

use std::{fmt::Display, fs::File, sync::Arc};

use camino::{Utf8Path, Utf8PathBuf};
use tokio::sync::oneshot;

use super::{
    CreateVm, CreateVmError, CreatedVm, Lifeline, Lifetime, in_words,
    lease::grant,
    lifecycle::{VmEvent, step},
    lock::{Taken, try_take},
    reconcile::{lock_directories, remove},
    supervisor::Host,
    volumes,
};
use crate::{
    domain::{
        BackendKind, BootMode, Bytes, ImageId, NetworkMode, PublishedPort, RootDiskMode, Selector,
        Vm, VmId, VmName, VmSpec, VmState, VmVolume,
    },
    host_fs::{
        CopyMethod, FileLock, IoContext as _, PathError, copy_file, copy_open_file,
        create_private_directory,
    },
    image::resize_in_place,
    progress::{ProgressEvent, ProgressSink},
    rootfs::format_empty,
    step::reached,
    store::{Found, InsertError},
    task::{attended, off_thread},
    vmm::{
        BackendError, ChosenBackend, HostFacts, JailFacts, choose_backend,
        choose_backend_with_network,
    },
};

/// Most virtual CPUs.
const MAX_VCPUS: u32 = 64;
/// Least guest memory: a kernel with the modules of a boot needs this much.
const MIN_MEMORY: Bytes = Bytes::from_mib(64);
/// Least size of a writable disk that still has room beside its metadata.
const MIN_DISK: Bytes = Bytes::from_mib(16);
/// Most ports that a VM can publish.
const MAX_PORTS: usize = 256;
/// Tries at making up a name that nobody has.
const NAME_TRIES: usize = 32;

/// Makes a VM.
pub(super) async fn create(
    host: &Arc<Host>,
    request: CreateVm,
    lifetime: Lifetime,
    progress: &dyn ProgressSink,
) -> Result<CreatedVm, CreateVmError> {
    validate(&request)?;
    let image = host.find_image(&request.image).await?;
    let volumes = volumes::resolve(host, &request.volumes).await?;
    let backend = backend(host, request.backend, request.network).await?;
    let wanted = Wanted {
        image: image.id,
        request,
        volumes,
        lifetime,
        disks: Disks::New,
    };
    make_attended(host, wanted, &backend, progress).await
}

/// Fails as making such a VM would, as far as that can be told before anything
/// is made.
pub(super) async fn check(host: &Host, request: &CreateVm) -> Result<(), CreateVmError> {
    validate(request)?;
    host.find_image(&request.image).await?;
    volumes::resolve(host, &request.volumes).await?;
    backend(host, request.backend, request.network).await?;
    let Some(name) = &request.name else {
        return Ok(());
    };
    let selector = Selector::from(name.as_str());
    let found = host.store().find_vm(&selector).await;
    match found.map_err(CreateVmError::Store)? {
        Found::One(vm) if vm.name == *name => Err(CreateVmError::AlreadyExists { name: vm.name }),
        _ => Ok(()),
    }
}

/// Makes a VM of which everything but its request is known to be there.
pub(super) async fn create_wanted(
    host: &Arc<Host>,
    wanted: Wanted,
    backend: &ChosenBackend,
    progress: &dyn ProgressSink,
) -> Result<CreatedVm, CreateVmError> {
    validate(&wanted.request)?;
    make_attended(host, wanted, backend, progress).await
}

async fn make_attended(
    host: &Arc<Host>,
    wanted: Wanted,
    backend: &ChosenBackend,
    progress: &dyn ProgressSink,
) -> Result<CreatedVm, CreateVmError> {
    progress.emit(ProgressEvent::BackendChosen {
        backend: backend.choice.kind.as_str(),
        reason: backend.choice.reason.clone(),
    });
    progress.emit(ProgressEvent::PreparingDisks);
    // on a task of its own: it undoes its work when nobody waits any more
    let (answer, answered) = oneshot::channel();
    let making = make_for(host.clone(), wanted, answer);
    drop(host.tasks.spawn(making));
    answered.await.unwrap_or_else(|_| Err(broken_off(host)))
}

/// The backend that will run a VM on this host.
pub(super) async fn backend(
    host: &Host,
    wanted: Option<BackendKind>,
    network: NetworkMode,
) -> Result<ChosenBackend, BackendError> {
    let programs = host.options.vmm.clone();
    let choose = match network {
        NetworkMode::None => choose_backend,
        NetworkMode::User => choose_backend_with_network,
    };
    let place = host.options.directories.state.clone();
    off_thread(move || {
        let chosen = choose(&programs, wanted, &HostFacts::gather(&programs))?;
        if chosen.choice.kind != BackendKind::Firecracker {
            return Ok(chosen);
        }
        let facts = JailFacts::gather(&programs.jail, &place);
        chosen.with_jail(&programs.jail, &facts)
    })
    .await
}

/// What was asked for, of an image that exists.
pub(super) struct Wanted {
    pub(super) image: ImageId,
    pub(super) request: CreateVm,
    /// In place of the request's.
    pub(super) volumes: Vec<VmVolume>,
    pub(super) lifetime: Lifetime,
    pub(super) disks: Disks,
}

/// What a VM's disks are made of.
pub(super) enum Disks {
    /// Of its image.
    New,
    /// Of files with these names, which were kept in this directory.
    Kept {
        directory: Utf8PathBuf,
        names: Vec<String>,
    },
}

async fn make_for(
    host: Arc<Host>,
    wanted: Wanted,
    answer: oneshot::Sender<Result<CreatedVm, CreateVmError>>,
) {
    let made = make(&host, &wanted).await;
    if let Err(Ok(created)) = answer.send(made) {
        let taken = try_take(&host.files(created.vm.id).directory);
        if let Ok(Taken::Ours(_lock)) = taken {
            undo(&host, created.vm).await;
        }
    }
}

async fn make(host: &Host, wanted: &Wanted) -> Result<CreatedVm, CreateVmError> {
    let (vm, _lock) = reserve(host, wanted).await?;
    match fill(host, &vm, wanted).await {
        Ok(created) => Ok(created),
        Err(error) => {
            undo(host, vm).await;
            Err(error)
        }
    }
}

async fn undo(host: &Host, vm: Vm) {
    if let Err(error) = remove(host, vm).await {
        let error = in_words(&error);
        tracing::warn!(error, "a VM half made is left for the next reconcile");
    }
}

/// Makes the directory, locks it, and adds the record.
async fn reserve(host: &Host, wanted: &Wanted) -> Result<(Vm, FileLock), CreateVmError> {
    let name = first_name(&wanted.request)?;
    let locking = lock_directories(host).await;
    let _making = locking.map_err(|source| CreateVmError::Lock {
        name: name.clone(),
        source,
    })?;
    let id = VmId::generate();
    let lock = make_directory(host, id).map_err(|source| CreateVmError::Io {
        name: name.clone(),
        source,
    })?;
    match insert(host, record(host, id, wanted, name), &wanted.request).await {
        Ok(vm) => Ok((vm, lock)),
        Err(error) => {
            // it is the error that matters; a leftover is swept later
            drop(host.files(id).remove());
            Err(error)
        }
    }
}

fn make_directory(host: &Host, id: VmId) -> Result<FileLock, PathError> {
    let directory = host.files(id).directory;
    create_private_directory(&directory)?;
    reached("made the directory of a VM");
    match try_take(&directory)? {
        Taken::Ours(lock) => {
            reached("locked the directory of a VM");
            Ok(lock)
        }
        Taken::Held | Taken::NoDirectory => {
            let refusal = rustix::io::Errno::WOULDBLOCK;
            Err(PathError::new("lock", &directory, refusal))
        }
    }
}

/// Adds the record; a made-up name that is taken is replaced by another one.
async fn insert(host: &Host, mut vm: Vm, request: &CreateVm) -> Result<Vm, CreateVmError> {
    let tries = if request.name.is_some() {
        1
    } else {
        NAME_TRIES
    };
    for _ in 0..tries {
        match host.store().insert_vm(&vm).await {
            Ok(()) => return Ok(vm),
            Err(InsertError::Taken) => vm.name = first_name(request)?,
            Err(InsertError::Store(error)) => return Err(CreateVmError::Store(error)),
        }
    }
    Err(CreateVmError::AlreadyExists { name: vm.name })
}

fn first_name(request: &CreateVm) -> Result<VmName, CreateVmError> {
    let name = request.name.clone().or_else(made_up_name);
    name.ok_or_else(|| invalid("name", "(none)", "none could be made up: give one"))
}

/// Two English words.
fn made_up_name() -> Option<VmName> {
    petname::petname(2, "-")?.parse().ok()
}

fn record(host: &Host, id: VmId, wanted: &Wanted, name: VmName) -> Vm {
    let request = &wanted.request;
    Vm {
        id,
        name,
        image: wanted.image,
        spec: VmSpec {
            vcpus: request.vcpus,
            memory: request.memory,
            boot_mode: request.boot_mode,
            root_disk: request.root_disk,
            disk_size: request.disk_size,
            backend: request.backend,
            network: request.network,
            ports: request.ports.clone(),
            remove_on_stop: request.remove_on_stop,
            lease: request
                .lease
                .map(|lease| grant(lease, host.options.clock.as_ref())),
            labels: request.labels.clone(),
            volumes: wanted.volumes.clone(),
            process: request.process.clone(),
        },
        state: VmState::Creating,
        reason: "its disks are being made".to_owned(),
        backend: None,
        boot_id: None,
        ports: Vec::new(),
        exit: None,
        created: host.options.clock.now(),
        started: None,
        stopped: None,
        generation: 1,
    }
}

/// Makes the disks and marks the VM as created. It is its creator's before
/// the record says so.
async fn fill(host: &Host, vm: &Vm, wanted: &Wanted) -> Result<CreatedVm, CreateVmError> {
    let how = match &wanted.disks {
        Disks::New => make_disks(host, vm).await?,
        Disks::Kept { directory, names } => copy_kept(host, vm, directory, names).await?,
    };
    let lifeline = match wanted.lifetime {
        Lifetime::Detached => None,
        Lifetime::BoundToCaller => Some(creator_lifeline(host, vm)?),
    };
    let mut created = vm.clone();
    created.state = step(vm.state, &VmEvent::DisksMade)
        .map_err(|error| invalid("state", vm.state.as_str(), &error.to_string()))?;
    created.reason = format!("it was never started; {how}");
    let stored = host.store().update_vm(&created).await;
    Ok(CreatedVm {
        vm: stored.map_err(CreateVmError::Store)?,
        lifeline,
    })
}

fn creator_lifeline(host: &Host, vm: &Vm) -> Result<Lifeline, CreateVmError> {
    let path = host.files(vm.id).creator_lock();
    let lock = FileLock::try_acquire(&path).and_then(|lock| {
        // the directory is new and locked: nobody else is in it
        lock.ok_or_else(|| PathError::new("lock", &path, rustix::io::Errno::WOULDBLOCK))
    });
    let lock = lock.map_err(|source| CreateVmError::Io {
        name: vm.name.clone(),
        source,
    })?;
    reached("kept a VM for its creator");
    Ok(Lifeline {
        _descriptor: lock.into(),
    })
}

/// Makes them, and says how the root's was made.
async fn make_disks(host: &Host, vm: &Vm) -> Result<&'static str, CreateVmError> {
    volumes::make_disks(host, vm).await?;
    match vm.spec.root_disk {
        RootDiskMode::Overlay => {
            make_writable_disk(host, vm).await?;
            Ok("its disk takes what differs from the image's")
        }
        RootDiskMode::Clone => Ok(match clone_disk(host, vm).await? {
            CopyMethod::Reflink => "its disk shares blocks with the image's (reflink)",
            CopyMethod::Sparse => "its disk is a sparse copy of the image's",
        }),
    }
}

/// Copies what was kept of another VM.
async fn copy_kept(
    host: &Host,
    vm: &Vm,
    directory: &Utf8Path,
    names: &[String],
) -> Result<&'static str, CreateVmError> {
    let (from, names) = (directory.to_owned(), names.to_owned());
    let to = host.files(vm.id).directory;
    let copied = attended(move |cancel| {
        names.iter().try_for_each(|name| {
            let source = from.join(name);
            let source = File::open(&source).at("open", &source)?;
            copy_open_file(&source, &to.join(name), &|| cancel.is_cancelled()).map(drop)
        })
    });
    copied.await.map_err(|source| CreateVmError::Io {
        name: vm.name.clone(),
        source,
    })?;
    Ok("its disks are copies of a snapshot's")
}

async fn make_writable_disk(host: &Host, vm: &Vm) -> Result<(), CreateVmError> {
    let (path, size) = (host.files(vm.id).writable_disk(), vm.spec.disk_size);
    let uuid = uuid::Uuid::now_v7().into_bytes();
    let made = off_thread(move || format_empty(&path, size, uuid)).await;
    made.map_err(|source| CreateVmError::Disk {
        name: vm.name.clone(),
        source: Box::new(source),
    })?;
    reached("made the disk of a VM");
    Ok(())
}

/// Copies the image's disk and grows the copy.
async fn clone_disk(host: &Host, vm: &Vm) -> Result<CopyMethod, CreateVmError> {
    let (image, size) = (host.image(vm.image).await?, vm.spec.disk_size);
    let failed = |source| CreateVmError::Io {
        name: vm.name.clone(),
        source,
    };
    let metadata = image.rootfs.metadata().at("inspect", &image.rootfs);
    let least = Bytes::new(metadata.map_err(failed)?.len());
    if size < least {
        let problem = format!("the image's own disk has {least}");
        return Err(invalid("disk size", size, &problem));
    }
    let disk = host.files(vm.id).root_disk;
    let (from, to) = (image.rootfs, disk.clone());
    let copied = off_thread(move || copy_file(&from, &to)).await;
    let method = copied.map_err(failed)?;
    let resized = resize_in_place(&disk, size).await;
    resized.map_err(|source| CreateVmError::Clone {
        name: vm.name.clone(),
        source: Box::new(source),
    })?;
    Ok(method)
}

fn validate(request: &CreateVm) -> Result<(), CreateVmError> {
    check_machine(request.vcpus, request.memory, request.disk_size)
        .and_then(|()| check_ports(request.network, &request.ports))
        .map_err(|refused| invalid(refused.field, refused.value, &refused.problem))?;
    if request.boot_mode == BootMode::Native && request.root_disk != RootDiskMode::Clone {
        let problem = "nobody joins its disks: it needs a copy of the image's disk";
        return Err(invalid("boot mode", request.boot_mode.as_str(), problem));
    }
    Ok(())
}

/// Checks which ports are to be published.
fn check_ports(network: NetworkMode, ports: &[PublishedPort]) -> Result<(), Refused> {
    let refused = |port: &PublishedPort, problem: String| Refused {
        field: "published port",
        value: port.to_string(),
        problem,
    };
    if let (NetworkMode::None, [port, ..]) = (network, ports) {
        return Err(refused(port, "a VM without a network has none".to_owned()));
    }
    if let Some(port) = ports.get(MAX_PORTS) {
        return Err(refused(port, format!("at most {MAX_PORTS} are")));
    }
    for (index, port) in ports.iter().enumerate() {
        if let Some(earlier) = ports[..index].iter().find(|one| one.clashes_with(port)) {
            return Err(refused(port, format!("{earlier} is asked for as well")));
        }
    }
    Ok(())
}

/// A value that no VM can have.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) field: &'static str,
    pub(super) value: String,
    pub(super) problem: String,
}

/// Checks what a machine is to be made of.
pub(super) fn check_machine(vcpus: u32, memory: Bytes, disk: Bytes) -> Result<(), Refused> {
    if !(1..=MAX_VCPUS).contains(&vcpus) {
        return Err(Refused {
            field: "vcpus",
            value: vcpus.to_string(),
            problem: format!("1 to {MAX_VCPUS} are"),
        });
    }
    let sizes = [
        ("memory", memory, MIN_MEMORY),
        ("disk size", disk, MIN_DISK),
    ];
    match sizes.into_iter().find(|(_, value, least)| value < least) {
        None => Ok(()),
        Some((field, value, least)) => Err(Refused {
            field,
            value: value.to_string(),
            problem: format!("at least {least} is needed"),
        }),
    }
}

fn invalid(field: &'static str, value: impl Display, problem: &str) -> CreateVmError {
    CreateVmError::InvalidSpec {
        field,
        value: value.to_string(),
        problem: problem.to_owned(),
    }
}

/// The task that did the work is gone: the runtime ends.
fn broken_off(host: &Host) -> CreateVmError {
    let directory = host.options.directories.vms();
    let source = std::io::Error::other("the work was broken off");
    CreateVmError::Unfinished(PathError::new("make a VM in", &directory, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(vcpus: u32, memory: u64, disk: u64) -> CreateVm {
        CreateVm {
            vcpus,
            memory: Bytes::from_mib(memory),
            disk_size: Bytes::from_mib(disk),
            ..CreateVm::new(Selector::from("image"))
        }
    }

    #[test]
    fn a_spec_outside_its_bounds_is_refused_by_field() {
        let cases = [
            ((1, 64, 16), None),
            ((64, 1 << 20, 1 << 20), None),
            ((0, 64, 16), Some("vcpus")),
            ((65, 64, 16), Some("vcpus")),
            ((1, 63, 16), Some("memory")),
            ((1, 64, 15), Some("disk size")),
        ];
        for ((vcpus, memory, disk), expected) in cases {
            let refused = match validate(&request(vcpus, memory, disk)) {
                Err(CreateVmError::InvalidSpec { field, .. }) => Some(field),
                _ => None,
            };
            assert_eq!(refused, expected);
        }
    }

    #[test]
    fn ports_need_a_network_and_a_place_each() {
        let cases: [(NetworkMode, &[&str], Option<&str>); 5] = [
            (
                NetworkMode::User,
                &["80", "81", "8080:80", "8080:80/udp"],
                None,
            ),
            (NetworkMode::None, &[], None),
            (NetworkMode::None, &["80"], Some("without a network")),
            (
                NetworkMode::User,
                &["8080:80", "0.0.0.0:8080:81"],
                Some("127.0.0.1:8080:80/tcp is asked for as well"),
            ),
            (NetworkMode::User, &["80"; 2], Some("asked for as well")),
        ];
        for (network, ports, expected) in cases {
            let ports: Vec<_> = ports.iter().map(|port| port.parse().unwrap()).collect();
            let refused = check_ports(network, &ports).err();
            let problem = refused.map(|refused| refused.problem);
            assert_eq!(problem.is_some(), expected.is_some(), "{ports:?}");
            assert!(
                problem
                    .unwrap_or_default()
                    .contains(expected.unwrap_or_default())
            );
        }
        let many: Vec<_> = (1..=257)
            .map(|guest: u16| guest.to_string().parse().unwrap())
            .collect();
        assert!(check_ports(NetworkMode::User, &many[1..]).is_ok());
        let refused = check_ports(NetworkMode::User, &many).unwrap_err();
        assert_eq!(refused.value, "127.0.0.1:0:257/tcp");
    }

    #[test]
    fn a_guest_without_an_agent_needs_a_disk_of_its_own() {
        let mut native = request(1, 64, 16);
        native.boot_mode = BootMode::Native;
        let refused = validate(&native).unwrap_err().to_string();
        assert!(refused.contains("boot mode native"), "{refused}");
        native.root_disk = RootDiskMode::Clone;
        validate(&native).unwrap();
    }

    #[test]
    fn made_up_names_are_valid() {
        for _ in 0..100 {
            assert!(made_up_name().unwrap().as_str().contains('-'));
        }
    }
}

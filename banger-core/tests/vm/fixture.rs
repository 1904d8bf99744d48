//! A state directory with an image, and what tests ask of it.

use std::{
    fs,
    process::ExitCode,
    sync::Arc,
    time::{Duration, SystemTime},
};

use banger_core::{
    clock::SystemClock,
    directories::Directories,
    domain::{
        BootArtifacts, Bytes, Digest, DiskProvenance, Image, ImageId, ImageOrigin, ImageSizes,
        NetworkMode, RunConfig, Selector, Vm, VmState,
    },
    kernel::{KernelResolver as _, KernelSource, LocalKernelResolver},
    oci::{Compression, LayerBlob, LayerBytes, LayerDescriptor},
    progress::NoProgress,
    rootfs::{Ext4RootfsBuilder, RootfsBuilder as _, RootfsRequest},
    store::Store,
    vm::{
        CreateVm, CreateVmError, ExecControl, ExecError, ExecEvent, ExecExit, ExecRequest,
        ExecSession, Lifetime, LocalVmOptions, LocalVmSupervisor, LogsRequest, MonitorProgram,
        StartVmError, StartedVm, VmSupervisor as _,
    },
    vmm::VmmPrograms,
};
use camino::{Utf8Path, Utf8PathBuf};
use tokio_util::sync::CancellationToken;

use crate::vm::scratch::Scratch;

/// How long a test waits for anything at all.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// How long a guest may take to power off.
pub(crate) const GRACE: Duration = Duration::from_secs(30);

const QEMU: &str = "/usr/bin/qemu-system-x86_64";
const BUSYBOX: &str = "/bin/busybox";
const APPLETS: [&str; 19] = [
    "sh",
    "cat",
    "chmod",
    "chown",
    "echo",
    "grep",
    "id",
    "ln",
    "ls",
    "mkdir",
    "mkfifo",
    "nc",
    "pwd",
    "kill",
    "rm",
    "sha256sum",
    "sleep",
    "stat",
    "poweroff",
];

/// Runs a test's future.
pub(crate) fn block_on(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test);
}

/// A state directory of one test.
pub(crate) struct Host {
    // dropped last: the directory goes when everything in it has ended
    pub(crate) vms: LocalVmSupervisor,
    pub(crate) store: Store,
    pub(crate) directories: Directories,
    scratch: Scratch,
}

impl Host {
    /// With a real kernel and a root disk with busybox on it.
    pub(crate) async fn bootable() -> Self {
        let host = Self::with_vmm(QEMU).await;
        assert!(
            Utf8Path::new(QEMU).exists(),
            "install package qemu-system-x86"
        );
        let boot = host.import_kernel().await;
        let rootfs = host.root().join("rootfs.ext4");
        build_rootfs(&host.root(), &rootfs);
        host.insert_image(rootfs, boot).await;
        host
    }

    /// With an image that no machine ever reads, and `vmm` as its VMM.
    pub(crate) async fn with_fake_vmm(script: &str) -> Self {
        let scratch = Scratch::new();
        let vmm = scratch.path().join("vmm");
        executable_script(&vmm, script);
        let host = Self::in_scratch(scratch, vmm.as_str()).await;
        let file = host.root().join("file");
        fs::write(&file, "").unwrap();
        let boot = BootArtifacts {
            kernel: file.clone(),
            initrd: None,
            modules: None,
        };
        host.insert_image(file, boot).await;
        host
    }

    async fn with_vmm(vmm: &str) -> Self {
        Self::in_scratch(Scratch::new(), vmm).await
    }

    async fn in_scratch(scratch: Scratch, vmm: &str) -> Self {
        let directories = directories(scratch.path());
        let store = Store::open(&directories).await.unwrap();
        let options = options(&store, &directories, vmm);
        Self {
            vms: LocalVmSupervisor::new(options),
            store,
            directories,
            scratch,
        }
    }

    pub(crate) fn root(&self) -> Utf8PathBuf {
        self.scratch.path().to_owned()
    }

    /// Another supervisor over the same state, with other settings.
    pub(crate) fn supervisor(
        &self,
        deadline: Duration,
        change: impl FnOnce(&mut LocalVmOptions),
    ) -> LocalVmSupervisor {
        let vmm = self.root().join("vmm");
        let vmm = if vmm.exists() { vmm.as_str() } else { QEMU };
        let mut options = options(&self.store, &self.directories, vmm);
        change(&mut options);
        LocalVmSupervisor::with_boot_deadline(options, deadline)
    }

    async fn import_kernel(&self) -> BootArtifacts {
        let package = given("BANGER_TESTBED").join("kernel/kernel.deb");
        let kernels = LocalKernelResolver::new(
            self.store.clone(),
            self.directories.clone(),
            Arc::new(SystemClock),
        );
        let source = KernelSource::DebFile(package);
        let kernel = kernels.import(&source, None, &NoProgress).await.unwrap();
        kernel.boot
    }

    async fn insert_image(&self, rootfs: Utf8PathBuf, boot: BootArtifacts) {
        let image = Image {
            id: ImageId::generate(),
            name: "box".parse().unwrap(),
            artifact_directory: None,
            rootfs,
            boot,
            kernel: None,
            origin: ImageOrigin::Registered,
            run_config: RunConfig {
                cmd: vec!["/bin/sh".to_owned()],
                env: vec!["FROM=image".to_owned()],
                ..RunConfig::default()
            },
            sizes: ImageSizes::default(),
            package_hash: None,
            disk: DiskProvenance::default(),
            verdict: None,
            created: SystemTime::UNIX_EPOCH,
            updated: SystemTime::UNIX_EPOCH,
        };
        self.store.insert_image(&image).await.unwrap();
    }

    pub(crate) async fn create(&self, name: &str) -> Selector {
        self.make(request(name)).await;
        Selector::from(name)
    }

    pub(crate) async fn make(&self, request: CreateVm) -> Vm {
        let created = self.vms.create(request, Lifetime::Detached, &NoProgress);
        created.await.unwrap().vm
    }

    pub(crate) async fn refused(&self, request: CreateVm) -> CreateVmError {
        let created = self.vms.create(request, Lifetime::Detached, &NoProgress);
        created.await.unwrap_err()
    }

    pub(crate) async fn start(&self, vm: &Selector) -> StartedVm {
        match self.vms.start(vm, Lifetime::Detached, &NoProgress).await {
            Ok(started) => started,
            Err(StartVmError::BootFailed {
                stage,
                cause,
                console_tail,
                ..
            }) => {
                panic!("boot failed at {stage}: {cause}\n{console_tail}")
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    pub(crate) async fn state(&self, vm: &Selector) -> VmState {
        self.vms.show(vm).await.unwrap().state
    }

    pub(crate) async fn console(&self, vm: &Selector) -> String {
        let mut log = self.vms.logs(vm, LogsRequest::default()).await.unwrap();
        let mut text = Vec::new();
        while let Some(chunk) = log.chunks.recv().await {
            text.extend(chunk.unwrap().bytes);
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Runs a shell script and answers its output.
    pub(crate) async fn shell(&self, vm: &Selector, script: &str) -> (ExecExit, String, String) {
        let session = self.exec(vm, &["sh", "-c", script]).await.unwrap();
        outcome(session).await
    }

    pub(crate) async fn exec(
        &self,
        vm: &Selector,
        argv: &[&str],
    ) -> Result<ExecSession, ExecError> {
        let argv = argv.iter().map(|&argument| argument.to_owned()).collect();
        let request = ExecRequest {
            argv,
            ..ExecRequest::default()
        };
        self.vms.exec(vm, request).await
    }

    /// Ids of the processes whose command line names this state directory,
    /// without this one.
    pub(crate) fn processes(&self) -> Vec<i32> {
        processes_naming(&self.root())
    }

    /// Waits until something holds.
    pub(crate) async fn wait_until(&self, what: &str, holds: impl AsyncFn(&Self) -> bool) {
        let waiting = async {
            let mut pause = tokio::time::interval(Duration::from_millis(20));
            while !holds(self).await {
                pause.tick().await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "still not so: {what}");
    }

    /// Gives the one image another kernel.
    pub(crate) async fn replace_kernel(&self, kernel: Utf8PathBuf) {
        let [image] = self.store.images().await.unwrap().try_into().unwrap();
        self.store.delete_image(image.id).await.unwrap();
        let boot = BootArtifacts {
            kernel,
            ..BootArtifacts::default()
        };
        self.insert_image(image.rootfs, boot).await;
    }

    /// No VM is left, nor anything of one.
    pub(crate) async fn assert_empty(&self) {
        assert_eq!(self.store.vms().await.unwrap(), []);
        let content = |path: Utf8PathBuf| match path.read_dir_utf8() {
            Ok(entries) => entries.count(),
            Err(_) => 0,
        };
        assert_eq!(content(self.directories.vms()), 0);
        assert_eq!(content(self.directories.runtime.clone()), 0);
        let workers_alone = async |host: &Self| {
            let is_worker = |id: &i32| {
                let line = fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
                line.contains("__crowd") || line.is_empty()
            };
            host.processes().iter().all(is_worker)
        };
        self.wait_until("no process is left", workers_alone).await;
    }

    /// Nothing of a VM that was removed is left.
    pub(crate) async fn assert_nothing_left(&self, vm: &Vm) {
        assert_eq!(self.store.vm(vm.id).await.unwrap(), None);
        assert!(!self.directories.vm(vm.id).exists());
        assert!(!self.directories.vm_runtime(vm.id).exists());
        self.wait_until("no process is left", async |host| {
            host.processes().is_empty()
        })
        .await;
    }
}

pub(crate) fn request(name: &str) -> CreateVm {
    CreateVm {
        name: Some(name.parse().unwrap()),
        memory: Bytes::from_mib(256),
        disk_size: Bytes::from_mib(64),
        network: NetworkMode::None,
        ..CreateVm::new(Selector::from("box"))
    }
}

fn options(store: &Store, directories: &Directories, vmm: &str) -> LocalVmOptions {
    let this = Utf8PathBuf::try_from(std::env::current_exe().unwrap()).unwrap();
    LocalVmOptions {
        store: store.clone(),
        directories: directories.clone(),
        clock: Arc::new(SystemClock),
        guest_program: given("BANGER_GUEST_PROGRAM"),
        monitor: MonitorProgram {
            program: this,
            arguments: vec!["__monitor".to_owned()],
        },
        vmm: VmmPrograms {
            qemu: Some(vmm.into()),
            ..VmmPrograms::default()
        },
    }
}

fn directories(root: &Utf8Path) -> Directories {
    Directories {
        state: root.join("state"),
        cache: root.join("cache"),
        runtime: root.join("run"),
    }
}

/// Starts a VM of an existing state directory, in a process of its own:
/// arguments are the directory and the VM.
pub(crate) fn start_in_directory(arguments: &[String]) -> ExitCode {
    block_on(async {
        let [root, vm] = arguments else {
            panic!("a directory and a VM are needed");
        };
        let vms = open(root).await;
        let vm = Selector::from(vm.as_str());
        vms.start(&vm, Lifetime::Detached, &NoProgress)
            .await
            .unwrap();
    });
    ExitCode::SUCCESS
}

/// A supervisor over an existing state directory.
pub(crate) async fn open(root: &str) -> LocalVmSupervisor {
    open_with(root, |_| ()).await
}

/// The same, with other settings.
pub(crate) async fn open_with(
    root: &str,
    change: impl FnOnce(&mut LocalVmOptions),
) -> LocalVmSupervisor {
    let directories = directories(Utf8Path::new(root));
    let store = Store::open(&directories).await.unwrap();
    let mut options = options(&store, &directories, QEMU);
    change(&mut options);
    LocalVmSupervisor::new(options)
}

/// Everything a session says, and its exit.
pub(crate) async fn outcome(mut session: ExecSession) -> (ExecExit, String, String) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let exit = loop {
        match next(&mut session).await.unwrap() {
            ExecEvent::Stdout(bytes) => stdout.extend(bytes),
            ExecEvent::Stderr(bytes) => stderr.extend(bytes),
            gone @ ExecEvent::Truncated { .. } => panic!("{gone:?}"),
            ExecEvent::Exit(exit) => break exit,
        }
    };
    assert!(
        session.events.recv().await.is_none(),
        "an exit is the last event"
    );
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (exit, text(stdout), text(stderr))
}

/// A session's next event.
pub(crate) async fn next(session: &mut ExecSession) -> Result<ExecEvent, ExecError> {
    let event = tokio::time::timeout(PATIENCE, session.events.recv()).await;
    event.expect("an event in time").expect("an event")
}

pub(crate) async fn send(session: &ExecSession, control: ExecControl) {
    session.control.send(control).await.unwrap();
}

/// Ids of the processes whose command line contains `text`, without this one.
pub(crate) fn processes_naming(text: &Utf8Path) -> Vec<i32> {
    let own = i32::try_from(std::process::id()).unwrap();
    let ids = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let id: i32 = entry.unwrap().file_name().to_str()?.parse().ok()?;
        let line = fs::read(format!("/proc/{id}/cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).into_owned();
        (id != own && line.contains(text.as_str())).then_some(id)
    });
    ids.collect()
}

pub(crate) fn executable_script(path: &Utf8Path, script: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn build_rootfs(scratch: &Utf8Path, output: &Utf8Path) {
    let request = request_of_tar(
        &busybox_tar(),
        &scratch.join("layer.tar"),
        Bytes::from_mib(64),
    );
    Ext4RootfsBuilder
        .build(&request, output, &NoProgress, &CancellationToken::new())
        .unwrap();
}

/// What makes a disk of one layer, which is put into a file.
pub(crate) fn request_of_tar(content: &[u8], layer: &Utf8Path, size: Bytes) -> RootfsRequest {
    fs::write(layer, content).unwrap();
    let digest = Digest::of(content);
    let blob = LayerBlob {
        path: layer.to_owned(),
        bytes: LayerBytes::File,
        descriptor: LayerDescriptor {
            digest,
            size: Bytes::new(content.len() as u64),
            compression: Compression::None,
            diff_id: digest,
        },
        verified: false,
    };
    RootfsRequest {
        size: Some(size),
        ..RootfsRequest::new(vec![blob])
    }
}

fn busybox_tar() -> Vec<u8> {
    let busybox = fs::read(BUSYBOX).expect("install package busybox-static");
    let mut archive = tar::Builder::new(Vec::new());
    for directory in ["bin", "dev", "etc", "proc", "root", "sys", "tmp"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(0);
        archive
            .append_data(&mut header, directory, &[][..])
            .unwrap();
    }
    let mut file = |path: &str, mode, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, path, content).unwrap();
    };
    file("bin/busybox", 0o755, &busybox);
    file(
        "etc/passwd",
        0o644,
        b"root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/tmp:/bin/sh\n",
    );
    file("etc/notes", 0o644, b"not a program\n");
    for applet in APPLETS {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        archive
            .append_link(&mut header, format!("bin/{applet}"), "busybox")
            .unwrap();
    }
    archive.into_inner().unwrap()
}

/// A path that `cargo xtask test` sets in the environment.
pub(crate) fn given(variable: &str) -> Utf8PathBuf {
    #[expect(
        clippy::disallowed_methods,
        reason = "how the test runner says where its parts are"
    )]
    let path = std::env::var(variable);
    path.unwrap_or_else(|_| panic!("{variable} is not set: run `cargo xtask test`"))
        .into()
}

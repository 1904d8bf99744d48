//! Each thing that can keep a machine from coming up has an error of its own,
//! and leaves nothing but the record.

use std::fs;

use banger_core::{
    ErrorKind,
    domain::{Bytes, Selector, VmExit, VmState},
    progress::NoProgress,
    vm::{
        BootFailure, CreateVm, DEFAULT_BOOT_DEADLINE, ExecExit, Lifetime, LocalVmOptions,
        PrepareBootError, StartVmError, VmSupervisor as _,
    },
};
use camino::{Utf8Path, Utf8PathBuf};

use super::{
    fixture::{GRACE, Host, PATIENCE, block_on, request},
    images,
};

async fn start_error(host: &Host, vm: &Selector) -> StartVmError {
    start_error_with(host, vm, |_| ()).await
}

async fn start_error_with(
    host: &Host,
    vm: &Selector,
    change: impl FnOnce(&mut LocalVmOptions),
) -> StartVmError {
    let vms = host.supervisor(DEFAULT_BOOT_DEADLINE, change);
    let started = vms.start(vm, Lifetime::Detached, &NoProgress).await;
    started.unwrap_err()
}

fn preparation(error: &StartVmError) -> &PrepareBootError {
    match error {
        StartVmError::Boot { source, .. } => source,
        other => panic!("{other:?}"),
    }
}

/// No process, no socket.
async fn assert_only_files(host: &Host, vm: &Selector) {
    let shown = host.vms.show(vm).await.unwrap();
    assert!(!host.directories.vm_runtime(shown.id).exists());
    host.wait_until("no process is left", async |host| {
        host.processes().is_empty()
    })
    .await;
}

/// What a boot needs is looked for before anything is started.
pub(crate) fn missing_parts() {
    block_on(async {
        let host = Host::bootable().await;
        let vm = host.create("partless").await;
        let nowhere = || Utf8PathBuf::from("/nowhere/program");
        let error = start_error_with(&host, &vm, |options| {
            options.guest_program = nowhere();
        })
        .await;
        let cause = preparation(&error);
        assert!(
            matches!(cause, PrepareBootError::GuestProgramMissing { .. }),
            "{error:?}"
        );
        let error = start_error_with(&host, &vm, |options| {
            options.vmm.qemu = Some(nowhere());
        })
        .await;
        assert!(matches!(error, StartVmError::Backend(_)), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let image = images::first(&host).await;
        for (file, is_kernel) in [(&image.boot.kernel, true), (&image.rootfs, false)] {
            let aside = file.with_extension("aside");
            fs::rename(file, &aside).unwrap();
            let error = start_error(&host, &vm).await;
            let fits = match preparation(&error) {
                PrepareBootError::KernelMissing { path } => is_kernel && path == file,
                PrepareBootError::RootDiskMissing { path } => !is_kernel && path == file,
                _ => false,
            };
            assert!(fits, "{error:?}");
            assert_eq!(error.kind(), ErrorKind::NotFound);
            fs::rename(&aside, file).unwrap();
        }
        assert_eq!(host.state(&vm).await, VmState::Created);
        assert_only_files(&host, &vm).await;
        host.start(&vm).await;
        let deleted = host.vms.delete(&vm, true).await.unwrap();
        host.assert_nothing_left(&deleted).await;
    });
}

/// A kernel that cannot run its first process says so.
pub(crate) fn a_kernel_that_panics() {
    block_on(async {
        let host = Host::bootable().await;
        let vm = host.create("panicking").await;
        let program = host.root().join("no-program");
        fs::write(&program, "no program\n").unwrap();
        let error = start_error_with(&host, &vm, |options| {
            options.guest_program = program;
        })
        .await;
        let StartVmError::BootFailed {
            failure,
            stage,
            cause,
            ..
        } = &error
        else {
            panic!("{error:?}");
        };
        assert_eq!(
            (*failure, stage.as_str()),
            (BootFailure::KernelPanic, "kernel"),
            "{error:?}"
        );
        assert!(cause.starts_with("Kernel panic"), "{cause}");
        assert_eq!(host.state(&vm).await, VmState::Failed);
        assert_only_files(&host, &vm).await;

        // and one that panics later ends its VM by itself
        host.start(&vm).await;
        let crash = ["sh", "-c", "echo c > /proc/sysrq-trigger"];
        let _session = host.exec(&vm, &crash).await;
        let ended = host.vms.wait(&vm, Some(PATIENCE)).await.unwrap();
        assert_eq!(ended.state, VmState::Failed);
        let Some(VmExit::VmmDied(words)) = &ended.exit else {
            panic!("{ended:?}");
        };
        assert!(words.contains("Kernel panic"), "{words}");
        let deleted = host.vms.delete(&vm, false).await.unwrap();
        host.assert_nothing_left(&deleted).await;
    });
}

/// Memory that cannot hold kernel and initrd is refused; memory that runs out
/// later is told from other panics.
pub(crate) fn too_little_memory() {
    block_on(async {
        let host = Host::bootable().await;
        let small = CreateVm {
            memory: Bytes::from_mib(64),
            ..request("small")
        };
        let vm = Selector::from(host.make(small).await.name.as_str());
        let error = start_error(&host, &vm).await;
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error:?}");
        let needed = match &error {
            StartVmError::Boot { source, .. } => match &**source {
                PrepareBootError::TooLittleMemory { needed, .. } => *needed,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        // enough for the kernel to come so far that it can tell
        let tight = CreateVm {
            memory: Bytes::new(needed.get() + Bytes::from_mib(4).get()),
            ..request("tight")
        };
        let tight = Selector::from(host.make(tight).await.name.as_str());
        let error = start_error(&host, &tight).await;
        let StartVmError::BootFailed { failure, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(*failure, BootFailure::OutOfMemory, "{error:?}");
        for vm in [vm, tight] {
            assert_only_files(&host, &vm).await;
            let deleted = host.vms.delete(&vm, false).await.unwrap();
            host.assert_nothing_left(&deleted).await;
        }
    });
}

/// A file system of the test's own with room for so many bytes.
struct Tmpfs(Utf8PathBuf);

impl Tmpfs {
    fn mount(path: Utf8PathBuf, kib: u32) -> Self {
        fs::create_dir_all(&path).unwrap();
        run(
            "mount",
            &[
                "-t",
                "tmpfs",
                "-o",
                &format!("size={kib}k"),
                "tmpfs",
                path.as_str(),
            ],
        );
        Self(path)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        run("umount", &["-l", self.0.as_str()]);
    }
}

fn run(program: &str, arguments: &[&str]) {
    #[expect(clippy::disallowed_methods, reason = "a tool of the host")]
    let done = std::process::Command::new(program)
        .args(arguments)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
}

/// Fills what is left of a file system.
fn fill(directory: &Utf8Path) -> Utf8PathBuf {
    use std::io::Write as _;
    let path = directory.join("ballast");
    let mut file = fs::File::create(&path).unwrap();
    let block = vec![1; 4096];
    while file.write_all(&block).is_ok() {}
    path
}

/// A full disk of the host's: a VM cannot be made, one that exists cannot be
/// started, both say why, and both work again when there is room.
pub(crate) fn a_full_disk() {
    block_on(async {
        let host = Host::bootable().await;
        let vms = host.directories.vms();
        let full = Tmpfs::mount(vms.clone(), 24 << 10);
        let vm = host.create("kept").await;
        let ballast = fill(&vms);
        let refused = host.refused(request("refused")).await;
        assert_eq!(refused.kind(), ErrorKind::ResourceExhausted, "{refused:?}");
        let error = start_error(&host, &vm).await;
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error:?}");
        assert_eq!(host.vms.list().await.unwrap().len(), 1);
        assert_eq!(host.state(&vm).await, VmState::Created);
        assert_only_files(&host, &vm).await;
        fs::remove_file(ballast).unwrap();
        host.start(&vm).await;
        // a guest that writes more than there is room for is told, and goes on
        let ballast = fill(&vms);
        let script = "busybox dd if=/dev/zero of=/big bs=1M count=40 conv=fsync";
        let (exit, _, complaint) = host.shell(&vm, script).await;
        assert_ne!(exit, ExecExit::Code(0), "{complaint}");
        assert_eq!(host.shell(&vm, "echo alive").await.1, "alive\n");
        let stopped = host.vms.stop(&vm, GRACE).await.unwrap();
        assert_eq!(stopped.exit, Some(VmExit::PoweredOff), "{}", stopped.reason);
        fs::remove_file(ballast).unwrap();
        let deleted = host.vms.delete(&vm, true).await.unwrap();
        host.assert_nothing_left(&deleted).await;
        drop(full);
    });
}

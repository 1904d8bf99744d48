//! What the contract's tests need: a backend, a machine, its console.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    task::JoinSet,
    time::timeout,
};

use crate::{
    domain::{BackendChoice, BackendKind, Bytes},
    vmm::{
        Acceleration, BackendError, Channel, ChosenBackend, ChosenJail, Disk, JailIds, Machine,
        Spawned, VmmProcess, VmmRequest,
    },
};

/// How long a test waits for anything at all.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);
/// How long a console must say nothing to count as silent.
const SILENCE: Duration = Duration::from_millis(300);

const QEMU: &str = "/usr/bin/qemu-system-x86_64";

/// A backend and a directory.
pub(super) struct Bench {
    pub(super) backend: ChosenBackend,
    /// The user of the next jail.
    next_user: AtomicU32,
    pub(super) root: Utf8PathBuf,
    _scratch: tempfile::TempDir,
}

/// A machine that was started.
pub(super) struct Running {
    pub(super) process: VmmProcess,
    pub(super) channel: Channel,
    console: Arc<Mutex<Vec<u8>>>,
    errors: Arc<Mutex<Vec<u8>>>,
    drains: JoinSet<()>,
}

impl Bench {
    /// Firecracker in a jail, which only root can make.
    pub(super) fn jailed() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "the tests of jails must be run as root"
        );
        let mut bench = Self::new(BackendKind::Firecracker);
        bench.backend.jail = Some(ChosenJail {
            program: bench.backend.program.with_file_name("jailer"),
            ids: JailIds::default(),
        });
        bench
    }

    pub(super) fn new(kind: BackendKind) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let (program, acceleration) = match kind {
            BackendKind::Qemu => (QEMU.into(), Acceleration::Software),
            BackendKind::Firecracker => (firecracker(), Acceleration::Kvm),
        };
        assert!(
            program.exists(),
            "{program} is missing: run `cargo xtask test`"
        );
        let reason = "a test wants it".to_owned();
        Self {
            backend: ChosenBackend {
                choice: BackendChoice { kind, reason },
                program,
                acceleration,
                network_helper: Some("/usr/bin/slirp4netns".into()),
                jail: None,
            },
            next_user: AtomicU32::new(JailIds::default().first()),
            root: Utf8PathBuf::try_from(scratch.path().to_owned()).unwrap(),
            _scratch: scratch,
        }
    }

    /// A machine with a kernel of our own, and two disks.
    pub(super) fn machine(&self, kernel: &[u8]) -> Machine {
        let file = |name: &str, content: &[u8]| {
            let path = self.root.join(name);
            fs::write(&path, content).unwrap();
            path
        };
        let disk = |path, serial: &str, read_only| Disk {
            path,
            serial: serial.to_owned(),
            read_only,
        };
        Machine {
            vcpus: 1,
            memory: Bytes::from_mib(32),
            kernel: file("kernel", kernel),
            initrd: Some(file("initrd", &[0; 512])),
            kernel_arguments: None,
            disks: vec![
                disk(file("base", &[1; 4096]), "base", true),
                disk(file("writable", &[2; 4096]), "writable", false),
            ],
            network: None,
            time_stamp_khz: None,
            channel_port: "banger.test".to_owned(),
        }
    }

    /// A new private directory.
    pub(super) fn directory(&self, name: &str) -> Utf8PathBuf {
        let directory = self.root.join(name);
        crate::host_fs::create_private_directory(&directory).unwrap();
        directory
    }

    /// Starts the machine's VMM in a directory of that name.
    pub(super) fn spawn(&self, machine: &Machine, name: &str) -> Running {
        self.started(machine, name, None).unwrap()
    }

    /// The same, to go on from a snapshot.
    pub(super) fn started(
        &self,
        machine: &Machine,
        name: &str,
        snapshot: Option<&Utf8Path>,
    ) -> Result<Running, BackendError> {
        let request = VmmRequest {
            machine,
            backend: &self.backend,
            directory: &self.directory(name),
            jail_id: Some(self.next_user.fetch_add(1, Ordering::Relaxed)),
            snapshot,
        };
        VmmProcess::spawn(&request).map(Running::of)
    }

    /// Starts a machine that must come to run.
    pub(super) async fn run(&self, machine: &Machine, name: &str) -> Running {
        let mut running = self.spawn(machine, name);
        running.launch().await;
        running
    }

    /// Has a machine go on from a snapshot, which must go well.
    pub(super) async fn restore(
        &self,
        machine: &Machine,
        name: &str,
        snapshot: &Utf8Path,
    ) -> Running {
        let mut running = self.started(machine, name, Some(snapshot)).unwrap();
        running.launch().await;
        running
    }
}

impl Running {
    fn of(spawned: Spawned) -> Self {
        let mut drains = JoinSet::new();
        let mut drained = |stream: Box<dyn AsyncRead + Send + Unpin>| {
            let kept = Arc::new(Mutex::new(Vec::new()));
            drains.spawn(drain(stream, kept.clone()));
            kept
        };
        Self {
            process: spawned.process,
            channel: spawned.channel,
            console: drained(Box::new(spawned.output.console)),
            errors: drained(Box::new(spawned.output.errors)),
            drains,
        }
    }

    pub(super) async fn launch(&mut self) {
        if let Err(error) = self.process.launch().await {
            panic!("{error:?}\n{}", self.errors());
        }
    }

    /// What the console said so far.
    pub(super) fn console(&self) -> String {
        text(&self.console)
    }

    /// What the VMM complained of so far.
    pub(super) fn errors(&self) -> String {
        text(&self.errors)
    }

    /// Waits until the console has said so many lines more.
    pub(super) async fn say_more(&self, lines: usize) {
        // whole ones: the last may still be said
        let said = || self.console().matches('\n').count();
        let wanted = said() + lines;
        let saying = async {
            while said() < wanted {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let said = timeout(PATIENCE, saying).await;
        assert!(said.is_ok(), "{:?} {}", self.console(), self.errors());
    }

    /// Waits until the console says nothing more, and answers what it said.
    pub(super) async fn fall_silent(&self) -> String {
        let falling = async {
            loop {
                let before = self.console();
                tokio::time::sleep(SILENCE).await;
                if self.console() == before {
                    return before;
                }
            }
        };
        timeout(PATIENCE, falling).await.expect("silence")
    }

    /// Waits for the VMM's end and that of its outputs.
    pub(super) async fn end(&mut self) -> std::process::ExitStatus {
        let ended = timeout(PATIENCE, self.process.wait()).await;
        let status = ended.expect("an end").unwrap();
        while let Some(drained) = timeout(PATIENCE, self.drains.join_next()).await.unwrap() {
            drained.unwrap();
        }
        status
    }
}

/// Whether a console counts from 1 without a gap; answers how far.
pub(super) fn counted(console: &str) -> usize {
    let whole = console.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let numbers = whole.lines().map(|line| usize::from_str_radix(line, 16));
    let numbers: Vec<usize> = numbers.map(|number| number.expect(console)).collect();
    let expected: Vec<usize> = (1..=numbers.len()).collect();
    assert_eq!(numbers, expected);
    numbers.len()
}

fn firecracker() -> Utf8PathBuf {
    #[expect(
        clippy::disallowed_methods,
        reason = "how the test runner says where its parts are"
    )]
    let testbed = std::env::var("BANGER_TESTBED");
    let testbed = testbed.expect("BANGER_TESTBED is not set: run `cargo xtask test`");
    Utf8PathBuf::from(testbed).join("firecracker/firecracker")
}

fn text(bytes: &Mutex<Vec<u8>>) -> String {
    String::from_utf8_lossy(&bytes.lock().unwrap()).into_owned()
}

async fn drain(mut stream: Box<dyn AsyncRead + Send + Unpin>, kept: Arc<Mutex<Vec<u8>>>) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        kept.lock().unwrap().extend_from_slice(&buffer[..count]);
    }
}

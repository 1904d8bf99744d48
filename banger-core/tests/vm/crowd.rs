//! Many VMs at once, by several processes over one state directory: each is
//! created, started and deleted, nothing of them stays, and the processes that
//! did it are as large after many rounds as after one.

use std::{fs, process::ExitCode, time::Duration};

use banger_core::{
    domain::{BackendKind, BootMode, Bytes, NetworkMode, RootDiskMode, Selector, VmState},
    process::command,
    progress::NoProgress,
    rootfs::format_empty,
    vm::{CreateVm, Lifetime, LocalVmSupervisor, VmSupervisor},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines, stdin},
    process::{Child, ChildStdout},
    task::JoinSet,
};

use super::{
    fixture::{self, Host, PATIENCE, block_on, given, request},
    tiny_guest,
};

const PROCESSES: usize = 4;
const VMS_EACH: usize = 25;
/// VMs that one process works on at a time.
const AT_ONCE: usize = 8;
const ROUNDS: usize = 3;
/// By how much a process may grow after its first round.
const GROWTH: u64 = 8 << 20;

/// What a worker is after a round.
#[derive(Clone, Copy, Debug)]
struct Size {
    resident: u64,
    descriptors: usize,
}

pub(crate) fn a_hundred_at_once() {
    block_on(async {
        let host = Host::with_fake_vmm("exit 1").await;
        let image = host.root().join("file");
        fs::remove_file(&image).unwrap();
        format_empty(&image, Bytes::from_mib(16), [7; 16]).unwrap();
        let kernel = host.root().join("kernel");
        fs::write(&kernel, tiny_guest::counter()).unwrap();
        host.replace_kernel(kernel).await;
        let mut workers: Vec<Worker> = (0..PROCESSES)
            .map(|number| Worker::new(&host, number))
            .collect();
        let mut sizes = Vec::new();
        for _ in 0..ROUNDS {
            for worker in &mut workers {
                worker.begin_round().await;
            }
            let mut round = Vec::new();
            for worker in &mut workers {
                round.push(worker.end_round().await);
            }
            sizes.push(round);
            host.assert_empty().await;
        }
        let (first, last) = (&sizes[0], &sizes[ROUNDS - 1]);
        for (first, last) in first.iter().zip(last) {
            assert!(
                last.resident <= first.resident + GROWTH,
                "{first:?} {last:?}"
            );
            assert!(last.descriptors <= first.descriptors, "{first:?} {last:?}");
        }
        for worker in workers {
            worker.end().await;
        }
    });
}

/// One of the processes.
struct Worker {
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    fn new(host: &Host, number: usize) -> Self {
        let this = std::env::current_exe().unwrap();
        let mut command = command(this);
        command
            .args(["__crowd", host.root().as_str(), &number.to_string()])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, output }
    }

    async fn begin_round(&mut self) {
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(b"go\n").await.unwrap();
    }

    async fn end_round(&mut self) -> Size {
        let line = tokio::time::timeout(3 * PATIENCE, self.output.next_line()).await;
        let line = line.expect("a round in time").unwrap();
        let line = line.expect("a worker that lives");
        let mut numbers = line.split(' ').map(|number| number.parse::<u64>().unwrap());
        Size {
            resident: numbers.next().unwrap(),
            descriptors: usize::try_from(numbers.next().unwrap()).unwrap(),
        }
    }

    async fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().await.unwrap().success());
    }
}

/// A worker: does a round for each line, and says then how large it is.
/// Arguments are the state directory and its number.
pub(crate) fn work(arguments: &[String]) -> ExitCode {
    block_on(async {
        let [root, number] = arguments else {
            panic!("a directory and a number are needed");
        };
        let program = given("BANGER_TESTBED").join("firecracker/firecracker");
        let vms = fixture::open_with(root, |options| options.vmm.firecracker = Some(program)).await;
        let vms = std::sync::Arc::new(vms);
        let mut lines = BufReader::new(stdin()).lines();
        while lines.next_line().await.unwrap().is_some() {
            round(&vms, number).await;
            println!("{} {}", resident(), descriptors());
        }
    });
    ExitCode::SUCCESS
}

async fn round(vms: &std::sync::Arc<LocalVmSupervisor>, worker: &str) {
    let mut at_work = JoinSet::new();
    for number in 0..VMS_EACH {
        if AT_ONCE <= at_work.len() {
            at_work.join_next().await.unwrap().unwrap();
        }
        let (vms, name) = (vms.clone(), format!("crowd-{worker}-{number}"));
        at_work.spawn(async move { one_life(vms.as_ref(), &name).await });
    }
    while let Some(done) = at_work.join_next().await {
        done.unwrap();
    }
}

async fn one_life(vms: &LocalVmSupervisor, name: &str) {
    let wanted = CreateVm {
        boot_mode: BootMode::Native,
        root_disk: RootDiskMode::Clone,
        disk_size: Bytes::from_mib(16),
        backend: Some(BackendKind::Firecracker),
        network: NetworkMode::None,
        ..request(name)
    };
    let created = vms.create(wanted, Lifetime::Detached, &NoProgress).await;
    let id = Selector::from(created.unwrap().vm.id.to_string().as_str());
    let started = vms.start(&id, Lifetime::Detached, &NoProgress).await;
    assert_eq!(started.unwrap().vm.state, VmState::Running);
    tokio::time::sleep(Duration::from_millis(20)).await;
    vms.delete(&id, true).await.unwrap();
}

/// Memory in use of this process, in bytes (proc(5), `statm`).
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

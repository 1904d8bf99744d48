//! What a jail is: who the VMM is in it, what it sees, and that it ends.

use std::{fs, path::Path};

use rustix::process::{Pid, Signal, kill_process};

use super::{
    bench::{Bench, Running},
    guest,
};
use crate::{
    domain::VmId,
    vmm::{HardwareAddress, JailIds, MachineNetwork},
};

/// A line of a process's `status` (proc(5)).
fn status(process: u32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim_start_matches(':').trim().to_owned()
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn mounts_of(process: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{process}/mounts")).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// The first process of the namespace that a process lives in.
fn keeper(running: &Running) -> Pid {
    let vmm = running.process.id().unwrap();
    let namespace = |id: &str| fs::read_link(format!("/proc/{id}/ns/pid")).ok();
    let wanted = namespace(&vmm.to_string());
    assert_ne!(wanted, namespace("self"));
    let ids = names_in(Path::new("/proc"));
    let others = ids.iter().filter(|id| **id != vmm.to_string());
    let mut there = others.filter(|id| namespace(id) == wanted);
    let keeper = there.next().expect("a keeper").parse().unwrap();
    assert_eq!(there.next(), None, "nobody else lives there");
    Pid::from_raw(keeper).unwrap()
}

#[tokio::test]
async fn a_jailed_vmm_is_nobody_else_and_can_do_nothing() {
    let bench = Bench::jailed();
    let machine = bench.machine(&guest::counter());
    let one = bench.run(&machine, "one").await;
    let other = bench.run(&machine, "other").await;
    for (number, running) in [&one, &other].into_iter().enumerate() {
        running.say_more(1).await;
        let vmm = running.process.id().unwrap();
        let user = JailIds::default().first() + u32::try_from(number).unwrap();
        let ids = format!("{user}\t{user}\t{user}\t{user}");
        assert_eq!((status(vmm, "Uid"), status(vmm, "Gid")), (ids.clone(), ids));
        assert_eq!(status(vmm, "Groups"), "");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(status(vmm, set), "0000000000000000", "{set}");
        }
        // the first process of its namespace is the keeper
        assert!(
            status(vmm, "NSpid").ends_with("\t2"),
            "{}",
            status(vmm, "NSpid")
        );
    }
}

#[tokio::test]
async fn a_jailed_vmm_sees_its_own_files_alone() {
    let bench = Bench::jailed();
    let machine = bench.machine(&guest::counter());
    fs::write(bench.root.join("secret"), "of another").unwrap();
    let running = bench.run(&machine, "vm").await;
    let vmm = running.process.id().unwrap();
    let root = format!("/proc/{vmm}/root");
    let expected = [
        "api.sock",
        "dev",
        "disk0",
        "disk1",
        "firecracker",
        "firecracker.pid",
        "initrd",
        "kept.memory",
        "kept.state",
        "kernel",
        "log",
        "metrics",
        "run",
        "vsock",
        "vsock_1024",
    ];
    assert_eq!(names_in(Path::new(&root)), expected);
    // mounts: the root and these files, of which one may be written to
    let mounts = mounts_of(&vmm.to_string());
    let writable: Vec<_> = (mounts.iter())
        .filter(|line| line.split(' ').nth(3).unwrap().starts_with("rw"))
        .map(|line| line.split(' ').nth(1).unwrap())
        .collect();
    assert_eq!(mounts.len(), 5, "{mounts:#?}");
    assert_eq!(writable, ["/", "/disk1"], "{mounts:#?}");
    // and the host's files are whose they were
    for name in ["kernel", "initrd", "base", "writable"] {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = fs::metadata(bench.root.join(name)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (0, 0), "{name}");
    }
    assert!(names_in(bench.root.join("vm").as_std_path()).is_empty());
}

#[tokio::test]
async fn nothing_of_a_jail_is_left() {
    let bench = Bench::jailed();
    let mut running = bench.run(&bench.machine(&guest::counter()), "vm").await;
    running.say_more(1).await;
    let before = mounts_of("self");
    let keeper = keeper(&running);
    running.process.signal(Signal::KILL);
    running.end().await;
    assert!(names_in(bench.root.join("vm").as_std_path()).is_empty());
    assert!(!Path::new(&format!("/proc/{}/exe", keeper.as_raw_nonzero())).exists());
    let root = bench.root.as_str();
    assert!(before.iter().all(|line| !line.contains(root)));
}

/// The keeper dies with its parent, as the kernel sees to; so must the VMM.
#[tokio::test]
async fn a_vmm_ends_with_the_keeper_of_its_jail() {
    let bench = Bench::jailed();
    let mut running = bench.run(&bench.machine(&guest::counter()), "vm").await;
    running.say_more(1).await;
    kill_process(keeper(&running), Signal::KILL).unwrap();
    let status = running.end().await;
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(9)
    );
}

#[tokio::test]
async fn a_jailed_vmm_has_its_network() {
    let bench = Bench::jailed();
    let mut machine = bench.machine(&guest::counter());
    machine.network = Some(MachineNetwork {
        hardware_address: HardwareAddress::of(VmId::generate()),
        ports: Vec::new(),
    });
    let running = bench.run(&machine, "vm").await;
    running.say_more(1).await;
    let vmm = running.process.id().unwrap().to_string();
    let namespace = |id: &str| fs::read_link(format!("/proc/{id}/ns/net")).unwrap();
    assert_ne!(namespace(&vmm), namespace("self"));
}

/// A jail that holds a socket's name as a link leads nowhere.
#[tokio::test]
async fn links_that_a_vmm_makes_are_not_followed() {
    let bench = Bench::jailed();
    let mut running = bench.run(&bench.machine(&guest::counter()), "vm").await;
    let vmm = running.process.id().unwrap();
    let elsewhere = bench.root.join("elsewhere.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&elsewhere).unwrap();
    let socket = format!("/proc/{vmm}/root/api.sock");
    fs::remove_file(&socket).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &socket).unwrap();
    let refused = running.process.pause().await.unwrap_err();
    assert!(
        matches!(refused, crate::vmm::BackendError::Broken { .. }),
        "{refused:?}"
    );
}

/// What is kept names nothing by where it was.
#[tokio::test]
async fn a_machine_goes_on_outside_of_its_jail_and_back() {
    let mut bench = Bench::jailed();
    let machine = bench.machine(&guest::counter());
    let mut running = bench.run(&machine, "inside").await;
    running.say_more(2).await;
    let jail = bench.backend.jail.take();
    let mut said = kept(&bench, &mut running, "first").await;
    let mut outside = bench
        .restore(&machine, "outside", &bench.root.join("first"))
        .await;
    outside.say_more(2).await;
    bench.backend.jail = jail;
    said += &kept(&bench, &mut outside, "second").await;
    let back = bench
        .restore(&machine, "back", &bench.root.join("second"))
        .await;
    back.say_more(2).await;
    super::counted(&format!("{said}{}", back.console()));
}

/// Keeps a machine and ends it; answers what it said.
async fn kept(bench: &Bench, running: &mut Running, name: &str) -> String {
    running.process.pause().await.unwrap();
    let directory = bench.directory(name);
    running.process.snapshot(&directory).await.unwrap();
    let said = running.fall_silent().await;
    running.process.signal(Signal::KILL);
    running.end().await;
    said
}

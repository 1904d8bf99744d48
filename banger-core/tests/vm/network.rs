//! Networks of running machines: out, in, and none.
//!
//! The peers are servers of the test on the host's loopback interface, and
//! busybox's own programs in the guest.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    process::{ExitCode, Stdio},
    time::Duration,
};

use banger_core::{
    ErrorKind,
    domain::{NetworkMode, RootDiskMode, Selector, Vm, VmState},
    process::{command, run},
    progress::NoProgress,
    vm::{CreateVm, ExecExit, ExecSession, Lifetime, StartVmError, VmSupervisor as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinSet,
};

use super::fixture::{GRACE, Host, PATIENCE, block_on, request};

/// How long a guest's first words may take.
const ANSWER: Duration = Duration::from_secs(5);
/// What the resolver of the test answers (TEST-NET-1, RFC 5737).
const RESOLVED: [u8; 4] = [192, 0, 2, 77];
/// What a guest runs behind its port 80.
const SERVER: [&str; 8] = [
    "busybox",
    "nc",
    "-ll",
    "-p",
    "80",
    "-e",
    "echo",
    "from the guest",
];

fn with_network(name: &str, ports: &[&str]) -> CreateVm {
    CreateVm {
        network: NetworkMode::User,
        ports: ports.iter().map(|port| port.parse().unwrap()).collect(),
        ..request(name)
    }
}

async fn output(host: &Host, vm: &Selector, script: &str) -> String {
    let (exit, stdout, stderr) = host.shell(vm, script).await;
    assert_eq!(exit, ExecExit::Code(0), "{script}: {stdout}{stderr}");
    stdout
}

pub(crate) fn both_ways() {
    block_on(async {
        let host = Host::bootable().await;
        let mut servers = JoinSet::new();
        let (tcp, udp) = serve(&mut servers).await;
        let first = Selector::from("first");
        // a port that any server may have had a moment ago
        let fixed = free_port().await;
        host.make(with_network("first", &["0:80", &format!("{fixed}:80")]))
            .await;
        let started = host.start(&first).await.vm;
        let ways = "busybox ip -4 addr show eth0; busybox ip route; cat /etc/resolv.conf";
        let ways = output(&host, &first, ways).await;
        for expected in [
            "inet 10.0.2.15/24 brd 10.0.2.255",
            "default via 10.0.2.2 dev eth0",
            "nameserver 10.0.2.3\n",
        ] {
            assert!(ways.contains(expected), "{ways}");
        }
        let script = format!("busybox nc 10.0.2.2 {tcp} </dev/null");
        assert_eq!(output(&host, &first, &script).await, "over tcp\n");
        let script = format!("busybox tftp -g -r any -l /got 10.0.2.2 {udp} 2>/dev/null; cat /got");
        assert_eq!(output(&host, &first, &script).await, "over udp\n");

        let _server = listen(&host, &first).await;
        let ports = bound(&started);
        assert_ne!(ports[0], ports[1]);
        assert_eq!(ports[1], fixed);
        for port in &ports {
            answered(*port).await;
            // bound to the one address, not to its neighbours
            let neighbour = Ipv4Addr::new(127, 0, 0, 2);
            TcpStream::connect((neighbour, *port)).await.unwrap_err();
        }
        beside(&host, &ports).await;
        let again = host.vms.restart(&first, GRACE, &NoProgress).await.unwrap();
        assert_eq!(bound(&again), ports);
        let _server = listen(&host, &first).await;
        answered(ports[0]).await;
        let deleted = host.vms.delete(&first, true).await.unwrap();
        host.assert_nothing_left(&deleted).await;
        for port in ports {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port))
                .await
                .unwrap();
        }
    });
}

/// Another VM that publishes the same port of its own.
async fn beside(host: &Host, others: &[u16]) {
    let name = Selector::from("second");
    host.make(with_network("second", &["80"])).await;
    let second = host.start(&name).await.vm;
    let [port] = bound(&second)[..] else {
        panic!("one port");
    };
    assert!(!others.contains(&port));
    let _server = listen(host, &name).await;
    answered(port).await;
    answered(others[0]).await;
    host.vms.delete(&name, true).await.unwrap();
}

fn bound(vm: &Vm) -> Vec<u16> {
    vm.ports.iter().map(|port| port.host).collect()
}

async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

/// Servers on the host's loopback interface: one connection and one file each.
async fn serve(servers: &mut JoinSet<()>) -> (u16, u16) {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let ports = (
        tcp.local_addr().unwrap().port(),
        udp.local_addr().unwrap().port(),
    );
    servers.spawn(async move {
        let (mut stream, _) = tcp.accept().await.unwrap();
        stream.write_all(b"over tcp\n").await.unwrap();
    });
    servers.spawn(async move {
        let mut asked = [0; 512];
        let (length, peer) = udp.recv_from(&mut asked).await.unwrap();
        // a read request of TFTP (RFC 1350), answered by its first and last block
        assert!(asked[..length].starts_with(b"\0\x01any\0"));
        udp.send_to(b"\0\x03\0\x01over udp\n", peer).await.unwrap();
    });
    ports
}

async fn listen(host: &Host, vm: &Selector) -> ExecSession {
    host.exec(vm, &SERVER).await.unwrap()
}

/// Waits until what is behind a host's port answers.
async fn answered(port: u16) {
    let asking = async {
        while ask(port).await.as_deref() != Some("from the guest\n") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let answered = tokio::time::timeout(PATIENCE, asking).await;
    assert!(answered.is_ok(), "nothing answers behind port {port}");
}

async fn ask(port: u16) -> Option<String> {
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let asking = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        Some(text)
    };
    tokio::time::timeout(ANSWER, asking).await.ok().flatten()
}

pub(crate) fn none_and_an_own_disk() {
    block_on(async {
        let host = Host::bootable().await;
        let alone = host.create("alone").await;
        host.start(&alone).await;
        let seen = "cd /sys/class/net; echo *; busybox ping -c 1 127.0.0.1 >/dev/null; \
            test ! -e /etc/resolv.conf";
        assert_eq!(output(&host, &alone, seen).await, "lo\n");
        host.vms.delete(&alone, true).await.unwrap();
        // a disk of its own stays as it is
        let own = Selector::from("own");
        let mut wanted = with_network("own", &[]);
        wanted.root_disk = RootDiskMode::Clone;
        let vm = host.make(wanted).await;
        host.start(&own).await;
        let seen = output(&host, &own, "cat /etc/resolv.conf").await;
        assert_eq!(seen, "nameserver 10.0.2.3\n");
        host.vms.stop(&own, GRACE).await.unwrap();
        let disk = host.directories.vm_root_disk(vm.id);
        let mut debugfs = command("debugfs");
        debugfs.args(["-R", "cat /etc/resolv.conf", disk.as_str()]);
        assert_eq!(run(debugfs, PATIENCE).await.unwrap(), b"");
        host.vms.delete(&own, false).await.unwrap();
    });
}

/// Told by its number before anything runs, and no obstacle afterwards.
pub(crate) fn a_taken_port() {
    block_on(async {
        // it would come up, were it started
        let host = Host::with_fake_vmm("touch \"$0.ran\"; exit 1").await;
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let number = taken.local_addr().unwrap().port();
        let vm = host
            .make(with_network("late", &["81", &format!("{number}:80")]))
            .await;
        let name = Selector::from("late");
        let start = || host.vms.start(&name, Lifetime::Detached, &NoProgress);
        let refused = start().await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict);
        let said = refused.to_string();
        assert!(said.contains(&format!("127.0.0.1:{number}/tcp")), "{said}");
        let failed = host.vms.show(&name).await.unwrap();
        assert_eq!(failed.state, VmState::Failed);
        assert!(
            failed.reason.contains(&format!("127.0.0.1:{number}/tcp")),
            "{}",
            failed.reason
        );
        assert!(!host.root().join("vmm.ran").exists());
        assert!(!host.directories.vm_runtime(vm.id).exists());
        drop(taken);
        let died = start().await.unwrap_err();
        assert!(matches!(died, StartVmError::BootFailed { .. }), "{died:?}");
        assert!(host.root().join("vmm.ran").exists());
        let refused = host.refused(with_network("twice", &["9:80", "9:81"])).await;
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        let deleted = host.vms.delete(&name, false).await.unwrap();
        host.assert_nothing_left(&deleted).await;
    });
}

/// In a network namespace of its own, where port 53 is the test's and the
/// host's resolver is what it says.
pub(crate) fn names() {
    block_on(async {
        let scratch = tempfile::tempdir().unwrap();
        let resolver = scratch.path().join("resolv.conf");
        std::fs::write(&resolver, "nameserver 127.0.0.1\n").unwrap();
        let script = "ip link set lo up && mount --bind \"$1\" /etc/resolv.conf && \
            exec \"$2\" __names";
        let mut inside = command("unshare");
        inside
            .args(["--net", "--mount", "sh", "-c", script, "sh"])
            .args([resolver, std::env::current_exe().unwrap()])
            .stdin(Stdio::null());
        let output = run(inside, 2 * PATIENCE).await.unwrap();
        assert!(String::from_utf8_lossy(&output).contains("resolved"));
    });
}

pub(crate) fn names_in_namespace() -> ExitCode {
    block_on(async {
        let mut servers = JoinSet::new();
        let socket = UdpSocket::bind("127.0.0.1:53").await.unwrap();
        servers.spawn(resolve(socket));
        let host = Host::bootable().await;
        let name = Selector::from("asks");
        host.make(with_network("asks", &[])).await;
        host.start(&name).await;
        let answer = output(&host, &name, "busybox nslookup vm.example").await;
        assert!(answer.contains("192.0.2.77"), "{answer}");
        let deleted = host.vms.delete(&name, true).await.unwrap();
        host.assert_nothing_left(&deleted).await;
    });
    println!("resolved");
    ExitCode::SUCCESS
}

/// Answers every question for an address with the same (RFC 1035, 4).
async fn resolve(socket: UdpSocket) {
    let mut question = [0; 512];
    loop {
        let (length, peer) = socket.recv_from(&mut question).await.unwrap();
        let asked = &question[12..length];
        let name = asked.iter().position(|byte| *byte == 0).unwrap();
        let is_address = asked[name + 1..name + 3] == [0, 1];
        // the same id; an answer, recursion there; one question, perhaps an answer
        let mut answer = question[..2].to_vec();
        answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
        answer.extend(&asked[..name + 5]);
        if is_address {
            // the name of the question; an address, for a minute
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            answer.extend(RESOLVED);
        }
        socket.send_to(&answer, peer).await.unwrap();
    }
}

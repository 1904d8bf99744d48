//! What only Firecracker does.

use std::{
    io::{Read as _, Write as _},
    os::unix::{
        net::{UnixListener, UnixStream},
        process::ExitStatusExt as _,
    },
    thread,
};

use rustix::process::Signal;

use super::{bench::Bench, guest};
use crate::{
    domain::{BackendKind, VmId},
    vmm::{
        BackendError, Channel, GuestView, HardwareAddress, MachineNetwork, NetworkError,
        network::reserve,
    },
};

#[tokio::test]
async fn faults_keep_firecrackers_own_words() {
    let bench = Bench::new(BackendKind::Firecracker);
    let mut machine = bench.machine(&guest::counter());
    machine.kernel = bench.root.join("no-kernel");
    let refused = bench.spawn(&machine, "vm").process.launch().await;
    let Err(BackendError::Refused { request, fault }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(request, "PUT /boot-source");
    let said = "Boot source error: The kernel file cannot be opened: No such file or directory (os error 2)";
    assert_eq!(fault, said);
}

#[tokio::test]
async fn the_power_button_is_typed_and_the_log_is_not_the_console() {
    let bench = Bench::new(BackendKind::Firecracker);
    let mut running = bench.run(&bench.machine(&guest::counter()), "vm").await;
    running.process.press_power_button().await.unwrap();
    running.say_more(1).await;
    running.process.pause().await.unwrap();
    super::counted(&running.fall_silent().await);
}

#[tokio::test]
async fn the_power_button_is_heard() {
    let bench = Bench::new(BackendKind::Firecracker);
    let mut running = bench.run(&bench.machine(&guest::obedient()), "vm").await;
    running.process.press_power_button().await.unwrap();
    let status = running.end().await;
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn a_guest_that_hears_no_power_button_is_terminated() {
    let bench = Bench::new(BackendKind::Firecracker);
    let mut running = bench.run(&bench.machine(&guest::deaf()), "vm").await;
    running.process.press_power_button().await.unwrap();
    running.process.signal(Signal::TERM);
    assert_eq!(running.end().await.signal(), Some(15));
}

#[tokio::test]
async fn the_channel_is_where_the_guests_connections_arrive() {
    let bench = Bench::new(BackendKind::Firecracker);
    let mut running = bench.run(&bench.machine(&guest::counter()), "vm").await;
    assert!(matches!(running.channel, Channel::Accept(_)));
    let port = GuestView(BackendKind::Firecracker)
        .channel_vsock_port()
        .unwrap();
    assert!(bench.root.join("vm/vsock").exists(), "the device is there");
    // what Firecracker does when a guest connects, twice
    for byte in [b'a', b'b'] {
        let path = bench.root.join(format!("vm/vsock_{port}"));
        UnixStream::connect(path)
            .unwrap()
            .write_all(&[byte])
            .unwrap();
        let mut stream = running.channel.open().await.unwrap();
        assert_eq!(
            tokio::io::AsyncReadExt::read_u8(&mut stream).await.unwrap(),
            byte
        );
    }
}

#[tokio::test]
async fn an_old_firecracker_is_refused_by_its_version() {
    let mut bench = Bench::new(BackendKind::Firecracker);
    bench.backend.program = bench.root.join("old-firecracker");
    let script = "#!/bin/sh\nexec sleep 600\n";
    std::fs::write(&bench.backend.program, script).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&bench.backend.program, executable).unwrap();
    let mut running = bench.spawn(&bench.machine(&guest::counter()), "vm");
    let listener = UnixListener::bind(bench.root.join("vm/api.sock")).unwrap();
    let peer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert_ne!(stream.read(&mut [0; 1024]).unwrap(), 0);
        let body = "{\"firecracker_version\":\"1.9.1\"}";
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        write!(stream, "{head}{body}").unwrap();
    });
    let refused = running.process.launch().await.unwrap_err();
    peer.join().unwrap();
    let program = &bench.backend.program;
    let expected = format!("{program} has version 1.9.1, and banger needs 1.12 or newer");
    assert_eq!(refused.to_string(), expected);
}

/// The VMM lives in namespaces of its own then, and its helper leads a port to
/// them; both go with it.
#[tokio::test]
async fn a_network_is_carried_by_a_helper_that_goes_with_the_vmm() {
    let bench = Bench::new(BackendKind::Firecracker);
    let reserved = reserve(&["0:80".parse().unwrap()], &[]).unwrap();
    let ports = reserved.ports().to_vec();
    let mut machine = bench.machine(&guest::counter());
    machine.network = Some(MachineNetwork {
        hardware_address: HardwareAddress::of(VmId::generate()),
        ports: ports.clone(),
    });
    let running = bench.run(&machine, "vm").await;
    drop(reserved);
    running.say_more(1).await;
    let id = running.process.id().unwrap();
    let namespace = |id: &str| std::fs::read_link(format!("/proc/{id}/ns/net")).unwrap();
    assert_ne!(namespace(&id.to_string()), namespace("self"));
    let taken = ("127.0.0.1", ports[0].host);
    assert!(
        std::net::TcpStream::connect(taken).is_ok(),
        "the helper listens"
    );
    drop(running);
    let gone = async {
        while std::net::TcpStream::connect(taken).is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(super::bench::PATIENCE, gone)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_network_without_its_helper_is_named() {
    let mut bench = Bench::new(BackendKind::Firecracker);
    bench.backend.network_helper = None;
    let mut machine = bench.machine(&guest::counter());
    machine.network = Some(MachineNetwork {
        hardware_address: HardwareAddress::of(VmId::generate()),
        ports: Vec::new(),
    });
    let refused = bench.spawn(&machine, "vm").process.launch().await;
    assert!(
        matches!(refused, Err(BackendError::Network(NetworkError::NoHelper))),
        "{refused:?}"
    );
}

async fn counts_what_its_machine_does(bench: Bench) {
    let mut running = bench.run(&bench.machine(&guest::counter()), "vm").await;
    running.say_more(2).await;
    let probe = running.process.metrics().unwrap();
    let first = probe.fresh().await;
    running.say_more(2).await;
    let second = probe.fresh().await;
    // a guest leaves its CPU for each letter that it says
    assert!(0 < first.exits.unwrap(), "{first:?}");
    assert!(first.exits < second.exits, "{first:?} {second:?}");
    let known = [
        first.disk_read_bytes,
        first.disk_writes,
        first.channel_sent_bytes,
        first.refused_requests,
    ];
    assert_eq!(known, [Some(0); 4], "{first:?}");
    running.process.signal(rustix::process::Signal::KILL);
    running.end().await;
    // and what was known stays known
    assert!(second.exits <= probe.fresh().await.exits);
}

#[tokio::test]
async fn a_vmm_counts_what_its_machine_does() {
    counts_what_its_machine_does(Bench::new(BackendKind::Firecracker)).await;
}

#[tokio::test]
async fn a_jailed_vmm_counts_what_its_machine_does() {
    counts_what_its_machine_does(Bench::jailed()).await;
}

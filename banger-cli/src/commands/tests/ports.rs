//! `vm port-forward` over a double.

use banger_core::domain::VmState;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::*;

/// The addresses that a command printed as JSON.
async fn addresses(stdout: &mut DuplexStream, count: usize) -> Vec<String> {
    let mut text = Vec::new();
    loop {
        let mut part = [0; 1024];
        let read = stdout.read(&mut part).await.unwrap();
        text.extend_from_slice(&part[..read]);
        let told = serde_json::from_slice::<serde_json::Value>(&text);
        if let Ok(told) = told {
            let list = told.as_array().unwrap().clone();
            assert_eq!(list.len(), count);
            let listen = |one: &serde_json::Value| one["listen"].as_str().unwrap().to_owned();
            return list.iter().map(listen).collect();
        }
    }
}

#[tokio::test]
async fn clients_reach_their_ports_and_a_signal_ends_it() {
    let world = Arc::new(World::default().with_vm("box", VmState::Running));
    let (task, style) = parse("banger --json vm port-forward box 0:80 0:81 0:1");
    let mut stage = Stage::new(&world, null(), style);
    let mut stdout = std::mem::replace(&mut stage.stdout, duplex(1).0);
    let user = stage.user.clone();
    let client = async move {
        let listening = addresses(&mut stdout, 3).await;
        for (address, port) in listening.iter().zip(["80", "81"]) {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(b" hello").await.unwrap();
            client.shutdown().await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer, format!("{port} hello"));
        }
        let mut refused = TcpStream::connect(&listening[2]).await.unwrap();
        let mut nothing = Vec::new();
        // reset or closed, but not a byte
        drop(refused.read_to_end(&mut nothing).await);
        assert!(nothing.is_empty());
        user.send(HostSignal::Interrupt).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(stage.play(task), client);
    assert_eq!(outcome.status(), 0, "{:?}", outcome.result);
    assert!(
        outcome.stderr.contains("nobody there"),
        "{}",
        outcome.stderr
    );
}

#[tokio::test]
async fn a_vm_that_does_not_run_and_a_taken_port_are_refused() {
    let world = Arc::new(
        World::default()
            .with_vm("box", VmState::Running)
            .with_vm("off", VmState::Stopped),
    );
    let stopped = banger(&world, "banger vm port-forward off 80").await;
    assert_eq!(stopped.status(), 4, "{:?}", stopped.result);
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let line = format!("banger vm port-forward box {port}:80");
    let refused = banger(&world, &line).await;
    assert_eq!(refused.status(), 4, "{:?}", refused.result);
}

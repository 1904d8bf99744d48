//! Connections to servers of a real guest, which has no network.

use std::{num::NonZeroU16, time::Duration};

use banger_core::{
    ErrorKind,
    domain::Selector,
    vm::{
        ConnectError, ConnectFailure, ExecSession, GuestAddress, GuestConnection, StreamPiece,
        VmSupervisor as _,
    },
};
use bytes::Bytes;
use tokio::time::timeout;

use super::fixture::{Host, PATIENCE, block_on};

fn port(number: u16) -> GuestAddress {
    GuestAddress {
        host: None,
        port: NonZeroU16::new(number).unwrap(),
    }
}

/// Starts a server, and waits until it listens.
async fn serve(host: &Host, vm: &Selector, number: u16, command: &str) -> ExecSession {
    let line = format!("nc -ll -p {number} -e {command}");
    let arguments: Vec<&str> = line.split(' ').collect();
    let server = host.exec(vm, &arguments).await.unwrap();
    host.wait_until("the server listens", async |host| {
        let script = format!("grep -i ':{number:04x} .* 0A ' /proc/net/tcp /proc/net/tcp6");
        !host.shell(vm, &script).await.1.is_empty()
    })
    .await;
    server
}

async fn open(host: &Host, vm: &Selector, number: u16) -> GuestConnection {
    host.vms.connect(vm, port(number)).await.unwrap()
}

/// The bytes up to the end of the server's direction.
async fn rest(connection: &mut GuestConnection) -> Result<Vec<u8>, ConnectError> {
    let mut content = Vec::new();
    loop {
        let piece = timeout(PATIENCE, connection.incoming.recv()).await.unwrap();
        match piece.expect("an end")? {
            StreamPiece::Data(bytes) => content.extend_from_slice(&bytes),
            StreamPiece::End => return Ok(content),
        }
    }
}

pub(crate) fn connections() {
    block_on(async {
        let host = Host::bootable().await;
        let vm = host.create("served").await;
        let early = host.vms.connect(&vm, port(80)).await.unwrap_err();
        assert_eq!(early.kind(), ErrorKind::Conflict, "{early:?}");
        host.start(&vm).await;
        let refused = host.vms.connect(&vm, port(80)).await.unwrap_err();
        assert!(
            matches!(
                &refused,
                ConnectError::Refused {
                    failure: ConnectFailure::Refused,
                    ..
                }
            ),
            "{refused:?}"
        );
        let _server = serve(&host, &vm, 7000, "/bin/cat").await;
        half_closed(&host, &vm).await;
        several(&host, &vm).await;
        backed_up(&host, &vm).await;
    });
}

/// `cat` answers to the end, after the client's.
async fn half_closed(host: &Host, vm: &Selector) {
    let mut connection = open(host, vm, 7000).await;
    let hello = StreamPiece::Data(Bytes::from_static(b"hello"));
    connection.outgoing.send(hello).await.unwrap();
    connection.outgoing.send(StreamPiece::End).await.unwrap();
    assert_eq!(rest(&mut connection).await.unwrap(), b"hello");
    let ended = timeout(PATIENCE, connection.incoming.recv()).await.unwrap();
    assert!(ended.is_none(), "{ended:?}");
}

async fn several(host: &Host, vm: &Selector) {
    let mut open_ones = Vec::new();
    for number in 0..8_u8 {
        open_ones.push((number, open(host, vm, 7000).await));
    }
    for (number, connection) in open_ones.iter().rev() {
        let bytes = Bytes::from(vec![*number; 1000]);
        connection
            .outgoing
            .send(StreamPiece::Data(bytes))
            .await
            .unwrap();
        connection.outgoing.send(StreamPiece::End).await.unwrap();
    }
    for (number, connection) in &mut open_ones {
        assert_eq!(rest(connection).await.unwrap(), vec![*number; 1000]);
    }
}

/// A client that does not read holds the server up, and no other client.
async fn backed_up(host: &Host, vm: &Selector) {
    let _zeros = serve(host, vm, 7001, "/bin/cat /dev/zero").await;
    let mut lazy = open(host, vm, 7001).await;
    half_closed(host, vm).await;
    let mut read = 0;
    while read < 8 << 20 {
        let piece = timeout(PATIENCE, lazy.incoming.recv()).await.unwrap();
        match piece.unwrap().unwrap() {
            StreamPiece::Data(bytes) => {
                assert!(bytes.iter().all(|byte| *byte == 0));
                read += bytes.len();
            }
            StreamPiece::End => panic!("zeros ended"),
        }
    }
    drop(lazy);
    half_closed(host, vm).await;
}

pub(crate) fn the_vm_ends() {
    block_on(async {
        let host = Host::bootable().await;
        let vm = host.create("doomed").await;
        host.start(&vm).await;
        let _server = serve(&host, &vm, 7000, "/bin/cat").await;
        let mut connection = open(&host, &vm, 7000).await;
        let hello = StreamPiece::Data(Bytes::from_static(b"hello"));
        connection.outgoing.send(hello.clone()).await.unwrap();
        let answer = timeout(PATIENCE, connection.incoming.recv()).await.unwrap();
        assert_eq!(answer.unwrap().unwrap(), hello);
        host.vms.stop(&vm, Duration::ZERO).await.unwrap();
        let lost = rest(&mut connection).await.unwrap_err();
        assert_eq!(lost.kind(), ErrorKind::Unavailable, "{lost:?}");
    });
}

//! One host after the other.

use std::io;

use banger_guest::agent::{HostTime, serve_in_turn};
use banger_proto::guest::v1::{HelloRequest, PowerOffRequest};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    sync::mpsc,
};

use crate::client::{dial, soon};

/// An agent whose streams are those that a host sends; answers how it ends.
async fn agent_of(host: impl AsyncFnOnce(mpsc::Sender<UnixStream>)) -> io::Result<()> {
    let (sender, mut streams) = mpsc::channel(1);
    let next = async || streams.recv().await.ok_or(io::ErrorKind::TimedOut.into());
    let agent = soon(serve_in_turn(
        next,
        HostTime::Ignore,
        std::time::Duration::ZERO,
    ));
    tokio::join!(agent, host(sender)).0
}

async fn connect(streams: &mpsc::Sender<UnixStream>) -> UnixStream {
    let (host, guest) = UnixStream::pair().unwrap();
    soon(streams.send(guest)).await.unwrap();
    host
}

#[tokio::test]
async fn a_machine_outlives_its_hosts_until_one_asks_for_power_off() {
    let hosts = async |streams| {
        let hello = HelloRequest {
            generation: 1,
            unix_time_nanos: 1,
            ..HelloRequest::default()
        };
        for _ in 0..2 {
            let (mut client, connection) = dial(connect(&streams).await).await;
            soon(client.hello(hello.clone())).await.unwrap();
            drop((client, connection));
        }
        // what a restored guest hears: another connection's beginning in the
        // middle of its own
        let mut torn = connect(&streams).await;
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        torn.write_all(&[&preface[..], preface].concat())
            .await
            .unwrap();
        let mut told = Vec::new();
        drop(soon(torn.read_to_end(&mut told)).await);
        let (mut client, _connection) = dial(connect(&streams).await).await;
        soon(client.power_off(PowerOffRequest {})).await.unwrap();
    };
    agent_of(hosts).await.unwrap();
}

#[tokio::test]
async fn without_another_stream_it_says_why_it_ends() {
    let hosts = async |streams| drop(connect(&streams).await);
    let ended = agent_of(hosts).await.unwrap_err();
    assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
}

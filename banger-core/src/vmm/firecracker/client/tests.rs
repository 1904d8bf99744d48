//! What the client makes of answers; the peer is a thread with a socket.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixListener,
    thread,
};

use camino::Utf8Path;

use super::{answer::BODY_LIMIT, connection::FAULT_LIMIT, *};
use crate::vmm::firecracker::api::VmState;

async fn version(connection: &mut Connection) -> Result<String, BackendError> {
    version_in(&connection.ask(&Message::version()).await?)
}

/// A client whose one request is answered so, and what it is asked.
fn answered(scratch: &Utf8Path, answer: Vec<u8>) -> (Client, thread::JoinHandle<String>) {
    let socket: Utf8PathBuf = scratch.join("api.sock");
    drop(std::fs::remove_file(&socket));
    let listener = UnixListener::bind(&socket).unwrap();
    let peer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        let mut buffer = [0; 4096];
        while !asked.ends_with(b"}") && !asked.ends_with(b"\r\n\r\n") {
            let count = stream.read(&mut buffer).unwrap();
            assert!(count != 0, "the request ends early");
            asked.extend_from_slice(&buffer[..count]);
        }
        // a client that has seen enough hangs up
        drop(stream.write_all(&answer));
        String::from_utf8(asked).unwrap()
    });
    (Client::new(socket), peer)
}

fn http(status: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nServer: Firecracker API\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn scratch() -> (tempfile::TempDir, Utf8PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::try_from(directory.path().to_owned()).unwrap();
    (directory, path)
}

#[tokio::test]
async fn a_request_is_one_line_of_json_and_success_has_no_content() {
    let (_directory, scratch) = scratch();
    let answer = b"HTTP/1.1 204 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n";
    let (client, peer) = answered(&scratch, answer.to_vec());
    client.send(&VmState::Paused).await.unwrap();
    let asked = peer.join().unwrap();
    assert!(asked.starts_with("PATCH /vm HTTP/1.1\r\n"), "{asked}");
    assert!(asked.ends_with("\r\n\r\n{\"state\":\"Paused\"}"), "{asked}");
}

#[tokio::test]
async fn faults_keep_their_words_on_one_line() {
    let (_directory, scratch) = scratch();
    let long = "x".repeat(2 * FAULT_LIMIT);
    for (body, expected) in [
        ("{\"fault_message\": \"no\\n  such file\"}", "no such file"),
        ("{}", "it answered 400 Bad Request"),
        ("", "it answered 400 Bad Request"),
        (
            &format!("{{\"fault_message\":\"{long}\"}}"),
            &long[..FAULT_LIMIT],
        ),
    ] {
        let (client, peer) = answered(&scratch, http("400 Bad Request", body));
        let refused = client.send(&VmState::Paused).await.unwrap_err();
        let BackendError::Refused { request, fault } = refused else {
            panic!("{refused:?}");
        };
        assert_eq!((request.as_str(), fault.as_str()), ("PATCH /vm", expected));
        peer.join().unwrap();
    }
}

#[tokio::test]
async fn what_is_no_answer_is_told_as_such() {
    let (_directory, scratch) = scratch();
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(2 * BODY_LIMIT));
    let large = http("200 OK", &"x".repeat(BODY_LIMIT + 1));
    for answer in [
        http("200 OK", "{}"),
        http("200 OK", "what"),
        large,
        endless.into_bytes(),
        b"what\r\n\r\n".to_vec(),
        Vec::new(),
    ] {
        let (client, peer) = answered(&scratch, answer);
        let mut connection = client.wait_until_up().await.unwrap();
        let broken = version(&mut connection).await.unwrap_err();
        assert!(matches!(broken, BackendError::Broken { .. }), "{broken:?}");
        peer.join().unwrap();
    }
}

#[tokio::test]
async fn a_version_is_read() {
    let (_directory, scratch) = scratch();
    let answer = http("200 OK", "{\"firecracker_version\":\"1.12.1\"}");
    let (client, peer) = answered(&scratch, answer);
    let mut connection = client.wait_until_up().await.unwrap();
    assert_eq!(version(&mut connection).await.unwrap(), "1.12.1");
    assert!(
        peer.join()
            .unwrap()
            .starts_with("GET /version HTTP/1.1\r\n")
    );
}

#[tokio::test]
async fn a_connection_that_is_over_says_so() {
    let (_directory, scratch) = scratch();
    let answer = http("200 OK", "{\"firecracker_version\":\"1.12.1\"}");
    let (client, peer) = answered(&scratch, answer);
    let mut connection = client.wait_until_up().await.unwrap();
    version(&mut connection).await.unwrap();
    peer.join().unwrap();
    for _ in 0..2 {
        let paused = Message::of(&VmState::Paused).unwrap();
        let broken = connection.ask(&paused).await.unwrap_err();
        assert!(matches!(broken, BackendError::Broken { .. }), "{broken:?}");
    }
}

#[tokio::test]
async fn requests_go_out_together_and_the_first_fault_is_told() {
    let (_directory, scratch) = scratch();
    let answers = [
        http("204 No Content", ""),
        http("400 Bad Request", "{\"fault_message\":\"the second\"}"),
        http("204 No Content", ""),
    ];
    let (client, peer) = answered(&scratch, answers.concat());
    let mut connection = client.wait_until_up().await.unwrap();
    let states = [VmState::Paused, VmState::Resumed, VmState::Paused];
    let messages: Vec<Message> = states
        .iter()
        .map(|state| Message::of(state).unwrap())
        .collect();
    connection
        .send(&messages.iter().collect::<Vec<_>>())
        .await
        .unwrap();
    let asked = peer.join().unwrap();
    assert_eq!(asked.matches("PATCH /vm HTTP/1.1").count(), 3, "{asked}");
    connection.answer(&messages[0]).await.unwrap();
    let refused = connection.answer(&messages[1]).await.unwrap_err();
    assert_eq!(refused.to_string(), "the VMM refused PATCH /vm: the second");
    connection.answer(&messages[2]).await.unwrap();
}

#[tokio::test]
async fn a_socket_is_waited_for() {
    let (_directory, scratch) = scratch();
    let socket = scratch.join("api.sock");
    let client = Client::new(socket.clone());
    let binding = async {
        tokio::task::yield_now().await;
        UnixListener::bind(&socket).unwrap()
    };
    let (connected, _listener) = tokio::join!(client.wait_until_up(), binding);
    connected.unwrap();
}

//! `vm port-forward` to a real server in a guest without a network.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    process::{Child, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use super::environment::{Environment, eventually};

/// Starts to forward, and answers where it listens. `way` is how banger gets there.
fn forward(environment: &Environment, way: &[&str], ports: &[&str]) -> (Child, Vec<String>) {
    let arguments = [way, &["vm", "port-forward", "one"], ports].concat();
    let mut child = environment
        .direct(&arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = |line: String| line.split(' ').next().unwrap().to_owned();
    let addresses = lines.take(ports.len()).map(|line| address(line.unwrap()));
    let addresses = addresses.collect();
    (child, addresses)
}

fn ended(mut child: Child) -> (Option<i32>, String) {
    let mut told = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut told)
        .unwrap();
    (child.wait().unwrap().code(), told)
}

fn get(address: &str, path: &str) -> String {
    let mut client = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn forwarded_ports_reach_a_guests_servers() {
    let environment = Environment::with_image();
    reach(&environment, &[]);
}

pub(super) fn reach(environment: &Environment, way: &[&str]) {
    environment.must(&[
        "vm", "run", "--detach", "--boot", "agent", "--name", "one", "small",
    ]);
    let server = "busybox httpd -p 8000 -h /etc; busybox nc -ll -p 8001 -e cat >/dev/null 2>&1 &";
    environment.must(&["vm", "exec", "one", "--", "sh", "-c", server]);
    let (child, addresses) = forward(environment, way, &["0:8000", "[::1]:0:8001", "0:9"]);
    eventually("the server answers", || {
        get(&addresses[0], "/group").ends_with("root:x:0:\nuser:x:1000:\nextra:x:2000:user\n")
    });
    assert!(addresses[1].starts_with("[::1]:"), "{addresses:?}");
    let many: Vec<TcpStream> = (0..5)
        .map(|_| TcpStream::connect(&addresses[1]).unwrap())
        .collect();
    for (number, mut client) in many.into_iter().enumerate() {
        let sent = vec![u8::try_from(number).unwrap(); 300_000];
        let mut writer = client.try_clone().unwrap();
        let written = sent.clone();
        let writing = std::thread::spawn(move || {
            writer.write_all(&written).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        writing.join().unwrap();
        assert!(answer == sent);
    }
    let mut refused = TcpStream::connect(&addresses[2]).unwrap();
    let mut nothing = Vec::new();
    drop(refused.read_to_end(&mut nothing));
    assert!(nothing.is_empty());
    let id = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(id, Signal::INT).unwrap();
    let (status, told) = ended(child);
    assert_eq!(status, Some(0), "{told}");
    assert!(
        told.contains("port 9 of VM one") && told.contains("refused"),
        "{told}"
    );
    a_vm_that_stops(environment, way);
}

fn a_vm_that_stops(environment: &Environment, way: &[&str]) {
    let (child, addresses) = forward(environment, way, &["0:8001"]);
    let mut client = TcpStream::connect(&addresses[0]).unwrap();
    client.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    client.read_exact(&mut answer).unwrap();
    environment.must(&["vm", "stop", "one"]);
    let (status, told) = ended(child);
    assert_eq!(status, Some(4), "{told}");
    assert!(told.contains("stopped"), "{told}");
    assert_eq!(client.read(&mut answer).unwrap_or(0), 0);
    let again = [way, &["vm", "port-forward", "one", "80"]].concat();
    let message = environment.refused(&again, 4);
    assert!(message.contains("banger vm start one"), "{message}");
    let nothing = [way, &["vm", "port-forward", "one", "0"]].concat();
    environment.refused(&nothing, 2);
}

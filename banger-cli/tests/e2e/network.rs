//! Published ports and networks, as users ask for them.

use std::{
    io::Write as _,
    net::{TcpListener, UdpSocket},
    time::Duration,
};

use super::environment::{Environment, eventually};

/// Answers one datagram with another.
const ECHO: &str = "use Socket; socket(S, PF_INET, SOCK_DGRAM, 0) or die; \
    bind(S, pack_sockaddr_in(5353, INADDR_ANY)) or die; \
    while ($from = recv(S, $said, 99, 0)) { send(S, \"heard $said\", 0, $from) }";

#[test]
fn datagrams_reach_a_published_port() {
    let environment = Environment::with_kernel();
    let reference = environment.layout("debian", "bookworm");
    environment.must(&["image", "pull", &reference, "--name", "debian"]);
    let line = "vm run -d --boot agent --name echo -p 127.0.0.3::5353/udp debian";
    environment.must(&line.split(' ').collect::<Vec<_>>());
    let serve = format!("setsid perl -e '{ECHO}' </dev/null >/dev/null 2>&1 &");
    environment.must(&["vm", "exec", "echo", "--", "sh", "-c", &serve]);
    let ports = environment.must(&["vm", "ports", "echo"]);
    let bound = ports.trim_end().strip_prefix("5353/udp -> ").unwrap();
    assert!(bound.starts_with("127.0.0.3:"), "{ports}");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let patience = Some(Duration::from_millis(500));
    socket.set_read_timeout(patience).unwrap();
    eventually("the datagram is answered", || {
        socket.send_to(b"this", bound).unwrap();
        let mut answer = [0; 99];
        let received = socket.recv(&mut answer);
        received.is_ok_and(|length| &answer[..length] == b"heard this")
    });
    let listing = environment.must(&["vm", "show", "echo"]);
    assert!(listing.contains(bound), "{listing}");
    environment.must(&["vm", "delete", "--force", "echo"]);
    environment.assert_no_vm_left();
}

#[test]
fn ports_that_cannot_be_had_are_refused_by_number() {
    let environment = Environment::with_image();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let number = taken.local_addr().unwrap().port();
    let port = format!("{number}:80");
    let create = ["vm", "create", "--name", "late", "-p", &port, "small"];
    environment.must(&create);
    let told = environment.refused(&["vm", "start", "late"], 4);
    assert!(
        told.contains(&format!("port 127.0.0.1:{number}/tcp")),
        "{told}"
    );
    assert!(told.contains("hint: publish another port"), "{told}");
    assert_eq!(environment.vm_state("late"), "failed");
    assert_eq!(environment.processes(), [""; 0]);
    environment.must(&["vm", "delete", "late"]);
    let run = ["vm", "run", "--rm", "-p", &port, "small", "--", "true"];
    let told = environment.refused(&run, 125);
    assert!(told.contains(&format!(":{number}/tcp")), "{told}");
    environment.assert_no_vm_left();

    for (options, status, expected) in [
        (
            "-p 80:80 -p 80:81",
            2,
            "127.0.0.1:80:80/tcp is asked for as well",
        ),
        ("--network none -p 80", 2, "a VM without a network has none"),
        ("-p 80/sctp", 2, "neither tcp nor udp"),
        ("--network bridge", 2, "the networks are: none, user"),
    ] {
        let line = format!("vm create {options} small");
        let told = environment.refused(&line.split(' ').collect::<Vec<_>>(), status);
        assert!(told.contains(expected), "{told}");
    }
    environment.assert_no_vm_left();
}

/// What a build fetches it keeps; whom it asked for names is not in the image.
#[test]
fn a_build_fetches_over_the_network() {
    let environment = Environment::with_kernel();
    let reference = environment.layout("debian", "bookworm");
    environment.must(&["image", "pull", &reference, "--name", "debian"]);
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let number = server.local_addr().unwrap().port();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        stream.write_all(b"fetched\n").unwrap();
    });
    let fetch = format!(
        "grep -qx 'nameserver 10.0.2.3' /etc/resolv.conf && \
         bash -c 'cat </dev/tcp/10.0.2.2/{number}' >/fetched"
    );
    let line = "image build --from-image debian --name dev --bare --run";
    let words: Vec<&str> = line.split(' ').chain([fetch.as_str()]).collect();
    environment.must(&words);
    serving.join().unwrap();
    assert_eq!(
        environment.must(&["image", "cat", "dev", "/fetched"]),
        "fetched\n"
    );
    let asked = environment.run(&["image", "cat", "dev", "/etc/resolv.conf"]);
    let asked = String::from_utf8(asked.stdout).unwrap();
    assert!(!asked.contains("10.0.2.3"), "{asked}");
    let line = "image build --from-image debian --name alone --bare --network none --run";
    let alone = "test \"$(ls /sys/class/net)\" = lo";
    let words: Vec<&str> = line.split(' ').chain([alone]).collect();
    environment.must(&words);
    environment.assert_no_vm_left();
}

//! How the service begins and ends.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
};

use super::daemon::Daemon;

/// Says whether the socket in its argument can be reached, and what it sends.
const STRANGER: &str = "import os, socket, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
connection = socket.socket(socket.AF_UNIX)
connection.settimeout(20)
try:
    connection.connect(sys.argv[1])
except PermissionError:
    sys.exit('no way there')
try:
    connection.sendall(b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n\\0\\0\\0\\4\\0\\0\\0\\0\\0')
    print(connection.recv(100))
except (BrokenPipeError, ConnectionResetError):
    print(b'')
";

/// What another user gets to see of the socket.
fn stranger(daemon: &Daemon) -> (String, String) {
    #[expect(
        clippy::disallowed_methods,
        reason = "a program that becomes another user"
    )]
    let mut program = Command::new("python3");
    program.args(["-c", STRANGER, daemon.socket().as_str()]);
    let output = program.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn another_user_gets_nothing_and_learns_nothing() {
    let daemon = Daemon::start();
    let (_, complaint) = stranger(&daemon);
    assert_eq!(complaint, "no way there");
    // even if somebody opens the way to it
    let open = |path: &camino::Utf8Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    open(&daemon.root, 0o755);
    open(&daemon.root.join("run"), 0o755);
    open(&daemon.socket(), 0o666);
    let (heard, complaint) = stranger(&daemon);
    assert_eq!(heard, "b''", "{complaint}");
    let said = daemon.python("standard", &[]);
    assert!(said.ends_with("done\n"), "{said}");
}

#[test]
fn a_signal_drains_it_and_a_second_one_of_it_is_refused() {
    let mut daemon = Daemon::start();
    let mode = |path: camino::Utf8PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(daemon.root.join("run")), 0o700);
    assert_eq!(mode(daemon.socket()), 0o600);

    let second = daemon.command().stderr(Stdio::piped()).output().unwrap();
    let words = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(4), "{words}");
    assert!(words.contains("another server has the socket"), "{words}");

    daemon.signal("TERM");
    assert!(daemon.wait().success());
    assert!(!daemon.socket().exists());
}

#[test]
fn what_a_killed_one_left_is_no_obstacle() {
    let mut daemon = Daemon::start();
    daemon.signal("KILL");
    assert!(!daemon.wait().success());
    assert!(daemon.socket().exists(), "a stale socket is needed");
    daemon.again();
    let said = daemon.python("standard", &[]);
    assert!(said.ends_with("done\n"), "{said}");
    daemon.signal("INT");
    assert!(daemon.wait().success());
}

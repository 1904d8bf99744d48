//! How systemd starts it: over a socket that listens already.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    process::Command,
    time::Duration,
};

use camino::Utf8Path;

use super::daemon::Daemon;

/// Listens on the socket in its first argument and becomes the rest, as systemd does.
const ACTIVATE: &str = "import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
";

#[test]
fn a_socket_that_was_passed_on_is_served_and_stays() {
    let mut daemon = Daemon::stopped();
    let directory = daemon.root.join("run");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    let told = UnixDatagram::bind(daemon.root.join("notify")).unwrap();
    told.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let hear = || {
        let mut text = [0; 64];
        let length = told.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..length]).into_owned()
    };
    daemon.activation = Some(ACTIVATE);
    daemon.again();
    assert_eq!(hear(), "READY=1");
    assert!(daemon.python("standard", &[]).ends_with("done\n"));
    daemon.signal("TERM");
    assert_eq!(hear(), "STOPPING=1");
    assert!(daemon.wait().success());
    // it is whoever's who made it
    assert!(daemon.socket().exists());
}

#[test]
fn the_units_are_sound() {
    let units = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    let scratch = tempfile::tempdir().unwrap();
    let scratch = Utf8Path::from_path(scratch.path()).unwrap();
    let program = env!("CARGO_BIN_EXE_bangerd");
    for name in ["bangerd.service", "bangerd.socket"] {
        let text = fs::read_to_string(units.join(name)).unwrap();
        // where packages put the program, there is none here
        let text = text.replace("/usr/bin/bangerd", program);
        fs::write(scratch.join(name), text).unwrap();
    }
    let service = fs::read_to_string(units.join("bangerd.service")).unwrap();
    assert!(service.lines().any(|line| line == "KillMode=process"));
    #[expect(clippy::disallowed_methods, reason = "a tool of the test's own")]
    let mut verify = Command::new("systemd-analyze");
    let output = verify
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .arg(scratch.join("bangerd.service"))
        .arg(scratch.join("bangerd.socket"))
        .env("SYSTEMD_UNIT_PATH", format!("{scratch}:"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !said.contains("bangerd"),
        "{said}"
    );
}

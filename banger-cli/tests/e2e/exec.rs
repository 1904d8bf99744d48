//! Commands in a guest: output, input, exit status, exactly.

use std::{
    io::{Read as _, Write as _},
    process::Stdio,
};

use banger_core::domain::Digest;

use super::environment::Environment;

/// Not a multiple of any buffer's size.
const STREAM: usize = 50 * 1_000_000 + 7;

#[test]
fn output_input_and_every_kind_of_exit_come_back_exactly() {
    let environment = Environment::with_image();
    environment.must(&[
        "vm", "run", "--detach", "--boot", "agent", "--name", "one", "small",
    ]);
    exit_statuses(&environment);
    spawn_failures(&environment);
    streams(&environment);
    process_settings(&environment);
    bulk_input(&environment);
    bulk_output(&environment);
    environment.must(&["vm", "delete", "--force", "one"]);
    environment.assert_no_vm_left();
}

fn exit_statuses(environment: &Environment) {
    for (script, status) in [
        ("exit 0", 0),
        ("exit 1", 1),
        ("exit 42", 42),
        ("exit 127", 127),
        ("kill -9 $$", 137),
    ] {
        let output = environment.run(&["vm", "exec", "one", "--", "sh", "-c", script]);
        assert_eq!(output.status.code(), Some(status), "{script}: {output:?}");
        assert!(output.stderr.is_empty(), "{script}: {output:?}");
    }
}

/// Told from an exit status by a message.
fn spawn_failures(environment: &Environment) {
    let cases = [
        (&["nowhere"][..], 127, "nowhere"),
        (&["/etc/passwd"], 126, "/etc/passwd"),
        (&["/etc"], 126, "/etc"),
    ];
    for (command, status, word) in cases {
        let line = [&["vm", "exec", "one", "--"], command].concat();
        let message = environment.refused(&line, status);
        assert!(
            message.contains(word) && message.lines().count() <= 2,
            "{message}"
        );
    }
    let message = environment.refused(
        &["vm", "exec", "--user", "nobody-here", "one", "--", "true"],
        126,
    );
    assert!(message.contains("nobody-here"), "{message}");
}

fn streams(environment: &Environment) {
    let mut command = environment.command(&[
        "vm",
        "exec",
        "-i",
        "one",
        "--",
        "sh",
        "-c",
        "cat; echo error >&2; exit 3",
    ]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"in\0put\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.stdout.as_slice(), output.stderr.as_slice()),
        (&b"in\0put\n"[..], &b"error\n"[..])
    );
    assert_eq!(output.status.code(), Some(3));
}

fn process_settings(environment: &Environment) {
    let line = [
        "vm",
        "exec",
        "--user",
        "user",
        "--workdir",
        "/etc",
        "--env",
        "A=b c",
        "one",
        "--",
        "sh",
        "-c",
    ];
    let script = "id -u; id -G; pwd; echo \"$A\"; echo $HOME";
    let output = environment.must(&[&line[..], &[script]].concat());
    assert_eq!(
        output.lines().collect::<Vec<_>>(),
        ["1000", "1000 2000", "/etc", "b c", "/"]
    );
    let hostname = environment.must(&["vm", "exec", "one", "--", "hostname"]);
    assert_eq!(hostname, "one\n");
}

/// Bytes that repeat after no power of two.
fn pattern() -> Vec<u8> {
    (0..STREAM)
        .map(|index| u8::try_from(index % 251).unwrap())
        .collect()
}

fn bulk_input(environment: &Environment) {
    let bytes = pattern();
    let mut command = environment.command(&["vm", "exec", "-i", "one", "--", "sha256sum"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let sum = String::from_utf8(output.stdout).unwrap();
    assert_eq!(sum, format!("{}  -\n", Digest::of(&bytes).to_hex()));
}

fn bulk_output(environment: &Environment) {
    let script = format!("head -c {STREAM} /dev/urandom > /file; sha256sum /file >&2; cat /file");
    let mut command = environment.command(&["vm", "exec", "one", "--", "sh", "-c", &script]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut bytes = Vec::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(bytes.len(), STREAM);
    let sum = String::from_utf8(output.stderr).unwrap();
    assert_eq!(sum, format!("{}  /file\n", Digest::of(&bytes).to_hex()));
}

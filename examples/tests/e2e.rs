//! The examples do what they say, with real parts.
//!
//! Needs the parts that `cargo xtask test` makes.

#![expect(clippy::unwrap_used, reason = "a failing step is a failing test")]

use std::process::{Command, Output};

use camino::{Utf8Path, Utf8PathBuf};

/// A part that `cargo xtask test` made.
fn part(variable: &str) -> Utf8PathBuf {
    #[expect(
        clippy::disallowed_methods,
        reason = "how the test runner names its parts"
    )]
    let value = std::env::var(variable);
    value
        .unwrap_or_else(|_| panic!("{variable} is not set: use `cargo xtask test`"))
        .into()
}

/// Runs `embed` with a shell script as the command; `timeout` ends it when it
/// hangs.
fn embed(directory: &Utf8Path, script: &str) -> Output {
    let testbed = part("BANGER_TESTBED");
    #[expect(clippy::disallowed_methods, reason = "the program under test")]
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=5", "240", env!("CARGO_BIN_EXE_embed")])
        .arg(directory)
        .arg(part("BANGER_GUEST_PROGRAM"))
        .arg("/usr/bin/qemu-system-x86_64")
        .arg(format!("deb:{}", testbed.join("kernel/kernel.deb")))
        .arg(format!("oci:{}:latest", testbed.join("busybox")))
        .args(["sh", "-c", script])
        .output()
        .unwrap()
}

fn entries(directory: &Utf8Path) -> usize {
    directory.read_dir_utf8().unwrap().count()
}

#[test]
fn a_program_with_the_library_inside_runs_commands_in_machines() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = Utf8Path::from_path(scratch.path()).unwrap();
    for (script, status) in [
        ("echo out; echo err >&2; exit 42", 42),
        ("echo out; echo err >&2", 0),
    ] {
        let output = embed(directory, script);
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        assert_eq!(output.stdout, b"out\n", "{output:?}");
        assert_eq!(output.stderr, b"err\n", "{output:?}");
        assert_eq!(entries(&directory.join("state/vms")), 0);
        assert_eq!(entries(&directory.join("state/images")), 1);
    }
}

#[test]
fn a_wrong_command_line_is_refused_with_its_usage() {
    #[expect(clippy::disallowed_methods, reason = "the program under test")]
    let output = Command::new(env!("CARGO_BIN_EXE_embed"))
        .args(["only", "two"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(output.stderr.starts_with(b"embed: usage: "), "{output:?}");
}

//! Bad input through the built program: the exact words, the exit status, and
//! that nothing on disk was touched.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, which the lint's exemption does not see"
)]

use std::process::{Command, Output, Stdio};

use camino::{Utf8Path, Utf8PathBuf};

/// A home of its own for one run of the program.
struct Home {
    _scratch: tempfile::TempDir,
    root: Utf8PathBuf,
}

impl Home {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap().to_owned();
        Self {
            _scratch: scratch,
            root,
        }
    }

    fn command(&self, line: &str) -> Command {
        self.command_of(Utf8Path::new(env!("CARGO_BIN_EXE_banger")), line)
    }

    fn command_of(&self, program: &Utf8Path, line: &str) -> Command {
        #[expect(clippy::disallowed_methods, reason = "the program under test")]
        let mut command = Command::new(program);
        command
            .args(line.split_whitespace())
            .env_clear()
            .env("HOME", &self.root)
            .env("PATH", "/nowhere")
            .current_dir(&self.root)
            .stdin(Stdio::null());
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    fn is_empty(&self) -> bool {
        self.root.read_dir_utf8().unwrap().next().is_none()
    }
}

/// The program's standard error for a line that must fail untouched.
fn refused(line: &str, status: i32) -> String {
    let home = Home::new();
    let output = home.run(line);
    assert_eq!(output.status.code(), Some(status), "{line}: {output:?}");
    assert!(output.stdout.is_empty(), "{line}: {output:?}");
    assert!(home.is_empty(), "{line} left something behind");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn bad_input_is_refused_in_exact_words() {
    let cases = [
        (
            "image pull docker.io/library/debian --size 0",
            "banger: invalid value '0' for '--size <SIZE>': size \"0\" is zero\n\
             hint: see `banger --help`\n",
        ),
        (
            "vm run --memory 0 img -- true",
            "banger: invalid value '0' for '--memory <SIZE>': size \"0\" is zero\n\
             hint: see `banger --help`\n",
        ),
        (
            "vm create img --name Bad_Name",
            "banger: invalid value 'Bad_Name' for '--name <NAME>': VM name \"Bad_Name\" is not \
             [a-z0-9][a-z0-9-]{0,62}\nhint: see `banger --help`\n",
        ),
        (
            "vm create img --label novalue",
            "banger: invalid value 'novalue' for '--label <KEY=VALUE>': a label is KEY=VALUE\n\
             hint: see `banger --help`\n",
        ),
        (
            "vm run -t img -- sh",
            "banger: standard input is no terminal, which --tty and a shell need\n\
             hint: use `banger vm exec` without --tty; --interactive alone passes input on\n",
        ),
    ];
    for (line, expected) in cases {
        let line = format!("--guest-program /g {line}");
        assert_eq!(refused(&line, 2), expected, "{line}");
    }
}

#[test]
fn both_kernel_forms_and_bad_references_are_refused() {
    let both = refused(
        "image pull docker.io/library/debian --kernel k --kernel-path /k",
        2,
    );
    assert!(
        both.starts_with(
            "banger: the argument '--kernel <NAME>' cannot be used with '--kernel-path <FILE>'\n"
        ),
        "{both}"
    );
    for line in [
        "image pull debian:bookworm",
        "image pull debian --size 2G",
        "image pull docker.io/UPPER//x",
        "vm run docker.io//x -- true",
    ] {
        let error = refused(line, 2);
        assert!(
            error.starts_with("banger: image reference \""),
            "{line}: {error}"
        );
        assert!(error.contains("is not valid: "), "{line}: {error}");
    }
}

#[test]
fn json_errors_are_one_object() {
    let error = refused("vm create img --json --label novalue", 2);
    let error: serde_json::Value = serde_json::from_str(&error).unwrap();
    assert_eq!(error["error"]["kind"], "invalid_input");
    assert_eq!(error["error"]["causes"], serde_json::json!([]));
}

#[test]
fn a_missing_guest_program_is_said_before_any_work() {
    // away from cargo's directory, where there may be a guest program
    let alone = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let program = Utf8Path::from_path(alone.path()).unwrap().join("banger");
    std::fs::hard_link(env!("CARGO_BIN_EXE_banger"), &program).unwrap();
    let refused = |line: &str, status| {
        let home = Home::new();
        let output = home.command_of(&program, line).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{line}: {output:?}");
        assert!(home.is_empty(), "{line} left something behind");
        String::from_utf8(output.stderr).unwrap()
    };
    let error = refused("vm start v", 9);
    assert!(
        error.starts_with("banger: the guest program was not found: looked for "),
        "{error}"
    );
    assert!(
        error.contains("\nhint: name it with --guest-program"),
        "{error}"
    );
    refused("vm run img -- true", 125);
}

#[test]
fn a_bad_configuration_is_named() {
    let home = Home::new();
    let path = home.root.join("banger.toml");
    std::fs::write(&path, "# mine\nstatedir = \"/s\"\n").unwrap();
    let output = home.run(&format!("--config {path} vm list"));
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    let expected = format!("banger: configuration {path}, line 2: unknown field `statedir`, ");
    assert!(error.starts_with(&expected), "{error}");
    let missing = refused("--config missing.toml vm list", 2);
    assert!(
        missing.starts_with("banger: failed to read configuration /"),
        "{missing}"
    );
}

#[test]
fn help_and_version_are_data() {
    let home = Home::new();
    for (line, start) in [
        ("--version", "banger "),
        ("version", "banger "),
        ("version --json", "{\n  \"version\": \""),
        ("vm run --help", "Run a command in a new VM\n"),
    ] {
        let output = home.run(line);
        assert_eq!(output.status.code(), Some(0), "{line}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.starts_with(start), "{line}: {text}");
        assert!(output.stderr.is_empty(), "{line}");
    }
    assert!(home.is_empty());
}

#[test]
fn a_reader_that_is_gone_is_no_failure() {
    let home = Home::new();
    let (read, write) = std::io::pipe().unwrap();
    drop(read);
    let mut child = home
        .command("version")
        .stdout(write)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0));
    let mut error = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut error).unwrap();
    assert_eq!(error, "");
}

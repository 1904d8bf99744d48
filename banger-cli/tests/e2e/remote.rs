//! The same program with a service and without one.

use std::{
    cell::RefCell,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Output, Stdio},
    thread,
};

use camino::Utf8Path;
use serde_json::Value;

use super::environment::Environment;

/// A service over the state of an environment.
struct Service {
    child: Child,
    endpoint: String,
}

impl Service {
    #[expect(
        clippy::print_stderr,
        reason = "a failed test shows what the service logged"
    )]
    fn start(environment: &Environment) -> Self {
        let banger = Utf8Path::new(env!("CARGO_BIN_EXE_banger"));
        #[expect(clippy::disallowed_methods, reason = "the service under test")]
        let mut command = Command::new(banger.with_file_name("bangerd"));
        command.env_clear().stdin(Stdio::null());
        for (name, value) in environment.command(&[]).get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .expect("bangerd is built beside banger by `cargo xtask test`");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let listens = |line: &String| line.contains("listening socket=");
        while !listens(&lines.next().expect("the service did not start").unwrap()) {}
        thread::spawn(move || lines.for_each(|line| eprintln!("{}", line.unwrap_or_default())));
        let endpoint = format!("unix://{}", environment.root.join("run/grpc.sock"));
        Self { child, endpoint }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Two states: one that the program works on itself, and one that a service keeps.
struct Twins {
    embedded: Environment,
    remote: Environment,
    service: Service,
    /// Where they did not do the same.
    differences: RefCell<Vec<String>>,
}

/// What a run showed.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Twins {
    fn start() -> Self {
        let (embedded, remote) = (Environment::empty(), Environment::empty());
        let service = Service::start(&remote);
        Self {
            embedded,
            remote,
            service,
            differences: RefCell::default(),
        }
    }

    /// With a kernel and an image.
    fn with_image() -> Self {
        let twins = Self::start();
        let package = format!("deb:{}", twins.remote.testbed.join("kernel/kernel.deb"));
        twins.same(&["-q", "kernel", "import", &package, "--name", "linux"], 0);
        let reference = twins.remote.layout("busybox", "latest");
        twins.same(&["-q", "image", "pull", &reference, "--name", "small"], 0);
        twins
    }

    fn remotely<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [&["--endpoint", &self.service.endpoint][..], arguments].concat()
    }

    fn remote(&self, arguments: &[&str]) -> Output {
        self.remote.run(&self.remotely(arguments))
    }

    /// Runs both, which show the same and have that status.
    fn same(&self, arguments: &[&str], status: i32) -> Shown {
        self.same_with(arguments, status, b"")
    }

    fn same_with(&self, arguments: &[&str], status: i32, input: &[u8]) -> Shown {
        let embedded = fed(self.embedded.command(arguments), input);
        let remote = fed(self.remote.command(&self.remotely(arguments)), input);
        let embedded = shown(&embedded, &self.embedded);
        let remote = shown(&remote, &self.remote);
        if remote != embedded || remote.status != Some(status) {
            let difference = format!(
                "banger {arguments:?}, status {status}:\nembedded: {embedded:#?}\nremote: {remote:#?}"
            );
            self.differences.borrow_mut().push(difference);
        }
        remote
    }

    /// Fails unless they did the same all the time.
    fn agree(self) {
        let differences = self.differences.take();
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }

    /// Runs both, with JSON and without.
    fn both(&self, arguments: &[&str], status: i32) {
        self.same(arguments, status);
        self.same(&[&["--json"], arguments].concat(), status);
    }

    /// What the service refuses, and how.
    fn refused(&self, arguments: &[&str], words: &str) {
        let output = self.remote(arguments);
        let shown = shown(&output, &self.remote);
        assert_eq!(shown.status, Some(9), "banger {arguments:?}: {shown:?}");
        assert!(shown.stderr.contains(words), "{shown:?}");
        assert!(shown.stderr.contains("hint: "), "{shown:?}");
    }
}

fn fed(mut command: Command, input: &[u8]) -> Output {
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = pipes.stderr(Stdio::piped()).spawn().unwrap();
    // it may end without reading
    drop(child.stdin.take().unwrap().write_all(input));
    child.wait_with_output().unwrap()
}

/// A run, without what no two runs share.
fn shown(output: &Output, environment: &Environment) -> Shown {
    let text = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        masked(&text.replace(environment.root.as_str(), "ROOT"))
    };
    Shown {
        status: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

fn masked(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(mut value) if !value.is_number() => {
            mask(&mut value);
            format!("{value:#}")
        }
        _ => text.lines().map(|line| masked_line(line) + "\n").collect(),
    }
}

/// What differs from run to run in a record.
const MASKED: [&str; 16] = [
    "age_seconds",
    "boot_id",
    "calls",
    "cpu_milliseconds",
    "disk_bytes_on_host",
    "generation",
    "memory_bytes",
    "monitor_memory_bytes",
    "on_disk_bytes",
    "pid",
    "read_bytes",
    "sequence",
    "size_on_disk_bytes",
    "started_seconds_ago",
    "written_bytes",
    "freed_bytes",
];

fn mask(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(mask),
        Value::Object(fields) => {
            for (key, value) in fields {
                if MASKED.contains(&key.as_str()) && !value.is_null() {
                    *value = Value::from("#");
                }
                mask(value);
            }
        }
        Value::String(text) => *text = masked_line(text),
        _ => {}
    }
}

/// Ids and times, in a line for people.
fn masked_line(line: &str) -> String {
    // the beginning of an event
    if let Ok(mut value) = serde_json::from_str::<Value>(line)
        && value.is_object()
    {
        mask(&mut value);
        return value.to_string();
    }
    let word = |word: &str| {
        let bare = word.trim_matches(|one: char| !one.is_alphanumeric());
        let is_id = 8 <= bare.len()
            && bare.contains(|one: char| one.is_ascii_digit())
            && bare
                .chars()
                .all(|one| one.is_ascii_hexdigit() || "-:.TZ".contains(one));
        if is_id {
            word.replace(bare, "#")
        } else {
            word.to_owned()
        }
    };
    // ids are parts of paths, too
    let parts = |whole: &str| whole.split('/').map(word).collect::<Vec<_>>().join("/");
    let words: Vec<String> = line.split_whitespace().map(parts).collect();
    words.join(" ")
}

#[test]
fn kernels_and_images_are_the_same_with_a_service() {
    let twins = Twins::start();
    let testbed = &twins.remote.testbed;
    let package = format!("deb:{}", testbed.join("kernel/kernel.deb"));
    let reference = twins.remote.layout("busybox", "latest");
    twins.both(&["kernel", "list"], 0);
    twins.both(&["image", "list"], 0);
    twins.both(&["image", "pull", &reference, "--name", "small"], 3);
    let import = ["-q", "kernel", "import", &package, "--name", "linux"];
    twins.same(&import, 0);
    twins.both(&import, 4);
    twins.both(&["kernel", "list"], 0);
    twins.both(&["kernel", "show", "linux"], 0);
    twins.both(&["kernel", "show", "other"], 3);
    twins.both(&["kernel", "delete", "other"], 3);
    twins.both(&["kernel", "import", "deb:/nowhere.deb", "--name", "x"], 3);

    let pull = ["-q", "image", "pull", &reference, "--name", "small"];
    let pulled = twins.same(
        &["--json", "image", "pull", &reference, "--name", "small"],
        0,
    );
    assert!(pulled.stdout.contains("\"small\""), "{pulled:?}");
    twins.both(&pull, 4);
    twins.both(&["image", "list"], 0);
    twins.both(&["image", "show", "small"], 0);
    twins.both(&["image", "show", "other"], 3);
    twins.both(&["image", "pull", "oci:/nowhere:latest", "--name", "x"], 3);
    twins.both(
        &[
            "-q", "image", "pull", &reference, "--name", "x", "--size", "1M",
        ],
        2,
    );
    twins.both(&["kernel", "delete", "linux"], 4);
    twins.both(&["vm", "run", "--rm", "nothing", "--", "true"], 125);

    // machines that do not run
    let create = [
        "vm", "create", "small", "--name", "one", "--cpus", "2", "--label", "a=b",
    ];
    twins.same(&create, 0);
    twins.both(&create, 4);
    twins.both(&["vm", "show", "one"], 0);
    twins.both(&["vm", "list"], 0);
    twins.both(&["vm", "create", "small", "--cpus", "65"], 2);
    twins.both(&["vm", "create", "nothing"], 3);
    twins.both(&["vm", "show", "two"], 3);
    twins.both(&["vm", "exec", "one", "--", "true"], 125);
    twins.both(&["vm", "kill", "one"], 4);
    twins.both(&["vm", "pause", "one"], 4);
    twins.both(&["vm", "snapshot", "one"], 4);
    twins.both(&["vm", "cp", "one:/etc/passwd", "/tmp/never"], 4);
    twins.both(&["vm", "wait", "one", "--timeout", "1"], 6);
    twins.both(
        &[
            "vm",
            "set",
            "one",
            "--label",
            "c=d",
            "--remove-label",
            "a",
            "--lifetime",
            "1h",
        ],
        0,
    );
    twins.both(&["vm", "set", "one", "--memory", "1M"], 2);
    twins.both(&["vm", "stop", "one"], 0);
    twins.both(&["vm", "events", "one"], 0);
    twins.both(&["vm", "events", "two"], 3);
    twins.same(&["--json", "vm", "stats", "one"], 0);
    twins.both(&["snapshot", "list"], 0);
    twins.both(&["snapshot", "show", "abcdef"], 3);
    twins.both(&["vm", "restore", "abcdef"], 3);
    twins.same(&["vm", "delete", "one"], 0);
    twins.both(&["vm", "delete", "one"], 3);
    twins.both(&["vm", "prune"], 0);
    twins.same(&["image", "delete", "small"], 0);
    twins.both(&["image", "delete", "small"], 3);
    twins.same(&["kernel", "delete", "linux"], 0);
    twins.agree();
}

#[test]
fn machines_and_their_commands_are_the_same_with_a_service() {
    let twins = Twins::with_image();
    twins.same(&["-q", "vm", "create", "small", "--name", "one"], 0);
    twins.same(&["vm", "start", "one"], 0);
    twins.both(&["vm", "start", "one"], 4);
    twins.same(&["--json", "vm", "show", "one"], 0);
    let exec = |rest: &[&'static str]| [&["vm", "exec", "one", "--"], rest].concat();
    let said = twins.same(&exec(&["sh", "-c", "echo out; echo err >&2; exit 5"]), 5);
    assert_eq!(
        (said.stdout.as_str(), said.stderr.as_str()),
        ("out\n", "err\n")
    );
    twins.both(&exec(&["no-such-program"]), 127);
    twins.both(&exec(&["/etc"]), 126);
    twins.both(
        &["vm", "exec", "--user", "nobody-here", "one", "--", "true"],
        126,
    );
    twins.both(
        &["vm", "exec", "--timeout", "1", "one", "--", "sleep", "60"],
        124,
    );
    let input: Vec<u8> = (0..60_000_u32)
        .flat_map(|one| format!("{one}\n").into_bytes())
        .collect();
    let echoed = twins.same_with(&["vm", "exec", "-i", "one", "--", "md5sum"], 0, &input);
    assert!(!echoed.stdout.is_empty());
    twins.both(&["vm", "attach", "one", "nothing"], 125);
    twins.same(
        &[
            "vm",
            "exec",
            "--detach",
            "--id",
            "later",
            "one",
            "--",
            "sh",
            "-c",
            "echo x; exit 3",
        ],
        0,
    );
    twins.same(&["vm", "attach", "one", "later"], 3);
    twins.same(&["--json", "vm", "execs", "one"], 0);

    let file = twins.remote.root.join("file");
    std::fs::write(&file, "content").unwrap();
    twins.both(&["vm", "cp", file.as_str(), "one:/tmp/file"], 0);
    let read = twins.same(&exec(&["cat", "/tmp/file"]), 0);
    assert_eq!(read.stdout.trim(), "content");
    twins.both(&["vm", "cp", "one:/tmp/nothing", "/tmp/never"], 3);
    twins.same(&["vm", "cp", "one:/tmp/file", "-"], 0);

    twins.both(&["vm", "pause", "one"], 0);
    twins.both(&["vm", "resume", "one"], 0);
    twins.both(&["vm", "set", "one", "--disk", "8G"], 4);
    twins.same(&["--json", "vm", "stats", "one"], 0);
    twins.both(&["vm", "delete", "one"], 4);
    twins.both(&["vm", "wait", "one", "--timeout", "1"], 6);
    let log = twins.remote(&["vm", "logs", "one", "--tail", "3"]);
    assert!(log.status.success() && !log.stdout.is_empty(), "{log:?}");
    twins.same(&["vm", "kill", "one"], 0);
    twins.both(&["vm", "kill", "one"], 4);
    twins.same(&["--json", "vm", "show", "one"], 0);
    twins.same(&["--json", "vm", "events", "one"], 0);
    twins.same(&["vm", "delete", "one"], 0);

    let run = twins.same(
        &[
            "-q",
            "vm",
            "run",
            "--rm",
            "small",
            "--",
            "sh",
            "-c",
            "echo hi; exit 4",
        ],
        4,
    );
    assert_eq!(run.stdout, "hi\n");
    twins.same(&["vm", "list"], 0);
    twins.agree();
}

#[test]
fn what_a_service_does_not_do_is_said_so() {
    let twins = Twins::start();
    twins.refused(&["volume", "list"], "the service has no volumes yet");
    twins.refused(
        &["kernel", "list", "--available"],
        "the service has no catalogs",
    );
    twins.refused(
        &["image", "prune"],
        "the service has no cache that can be pruned yet",
    );
    let file = twins.remote.root.join("f");
    twins.refused(
        &["image", "save", "x", "--output", file.as_str()],
        "the service has no archives",
    );
    twins.refused(
        &[
            "image",
            "register",
            "x",
            "--rootfs",
            "/f",
            "--kernel-path",
            "/k",
        ],
        "the service has no images of files",
    );

    // nobody is there
    let socket = twins.remote.root.join("nobody.sock");
    let endpoint = format!("unix://{socket}");
    let nobody = twins
        .remote
        .refused(&["--endpoint", &endpoint, "vm", "list"], 6);
    assert!(nobody.contains("cannot be reached"), "{nobody}");
    assert!(nobody.contains("hint: start it: `bangerd`"), "{nobody}");
    let wrong = twins
        .remote
        .refused(&["--endpoint", "http://h:1", "vm", "list"], 2);
    assert!(wrong.contains("is not unix:///SOCKET"), "{wrong}");
    // and the host itself works on
    twins.remote.must(&["--endpoint", "local", "vm", "list"]);
}

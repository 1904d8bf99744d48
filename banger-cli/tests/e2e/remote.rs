//! The same program with a service and without one.

use std::{
    cell::RefCell,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Output, Stdio},
    thread,
};

use banger_core::host_fs::copy_file;
use camino::Utf8Path;
use serde_json::Value;

use super::{bundles::configure, environment::Environment};

mod bound;
mod building;
mod elsewhere;
mod kept;
mod machines;
mod makers;
mod refusals;
mod streams;
mod uploads;

/// A service over the state of an environment.
struct Service {
    child: Child,
    endpoint: String,
    /// What it said until it listened.
    said: Vec<String>,
}

impl Service {
    #[expect(
        clippy::print_stderr,
        reason = "a failed test shows what the service logged"
    )]
    fn start(environment: &Environment, arguments: &[String]) -> Self {
        let banger = Utf8Path::new(env!("CARGO_BIN_EXE_banger"));
        #[expect(clippy::disallowed_methods, reason = "the service under test")]
        let mut command = Command::new(banger.with_file_name("bangerd"));
        command.args(arguments).env_clear().stdin(Stdio::null());
        for (name, value) in environment.command(&[]).get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .expect("bangerd is built beside banger by `cargo xtask test`");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said: Vec<String> = Vec::new();
        while !said
            .last()
            .is_some_and(|line| line.contains("listening socket="))
        {
            said.push(lines.next().expect("the service did not start").unwrap());
        }
        thread::spawn(move || lines.for_each(|line| eprintln!("{}", line.unwrap_or_default())));
        let endpoint = format!("unix://{}", environment.root.join("run/grpc.sock"));
        Self {
            child,
            endpoint,
            said,
        }
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
        Self::over(Environment::empty(), Environment::empty())
    }

    fn over(embedded: Environment, remote: Environment) -> Self {
        let service = Service::start(&remote, &[]);
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
            // what it costs, and not what it may have
            if fields.contains_key("running") {
                fields.insert("disk_bytes".to_owned(), Value::from("#"));
            }
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

/// Scenes: a status, whether with JSON as well (`both`) or as it is (`same`), and what
/// `banger` is told.
const KERNELS_AND_IMAGES: &str = "
    0 both kernel list
    0 both image list
    3 both image pull REFERENCE --name small
    0 same -q kernel import PACKAGE --name linux
    4 both -q kernel import PACKAGE --name linux
    0 both kernel list
    0 both kernel show linux
    3 both kernel show other
    3 both kernel delete other
    3 both kernel import deb:/nowhere.deb --name x
    0 same --json image pull REFERENCE --name small
    4 both -q image pull REFERENCE --name small
    0 both image list
    0 both image show small
    3 both image show other
    3 both image pull oci:/nowhere:latest --name x
    2 both -q image pull REFERENCE --name x --size 1M
    4 both kernel delete linux
    125 both vm run --rm nothing -- true";
const MACHINES_AT_REST: &str = "
    0 same vm create small --name one --cpus 2 --label a=b
    4 both vm create small --name one --cpus 2 --label a=b
    0 both vm show one
    0 both vm list
    2 both vm create small --cpus 65
    3 both vm create nothing
    3 both vm show two
    125 both vm exec one -- true
    4 both vm kill one
    4 both vm pause one
    4 both vm snapshot one
    4 both vm cp one:/etc/passwd /tmp/never
    6 both vm wait one --timeout 1
    0 both vm set one --label c=d --remove-label a --lifetime 1h
    2 both vm set one --memory 1M
    0 both vm stop one
    0 both vm events one
    3 both vm events two
    0 same --json vm stats one
    0 both snapshot list
    3 both snapshot show abcdef
    3 both vm restore abcdef
    0 same vm delete one
    3 both vm delete one
    0 both vm prune
    0 same image delete small
    3 both image delete small
    0 same kernel delete linux";
const COMMANDS: &str = "
    0 same -q vm create small --name one
    0 same vm start one
    4 both vm start one
    0 same --json vm show one
    127 both vm exec one -- no-such-program
    126 both vm exec one -- /etc
    126 both vm exec --user nobody-here one -- true
    124 both vm exec --timeout 1 one -- sleep 60
    125 both vm attach one nothing
    0 same vm exec --detach --id later one -- echo x
    0 same vm attach one later
    0 same --json vm execs one";
const FILES_AND_THE_END: &str = "
    0 both vm cp FILE one:/tmp/file
    0 same vm exec one -- cat /tmp/file
    3 both vm cp one:/tmp/nothing /tmp/never
    0 same vm cp one:/tmp/file -
    0 both vm pause one
    0 both vm resume one
    4 both vm set one --disk 8G
    0 same --json vm stats one
    4 both vm delete one
    6 both vm wait one --timeout 1
    0 same vm kill one
    4 both vm kill one
    0 same --json vm show one
    0 same --json vm events one
    0 same vm delete one";

const CATALOGS: &str = "
    0 both kernel list --available
    0 both image list --available
    3 both kernel pull nothing
    0 same --json kernel pull golden-kernel
    4 both -q kernel pull golden-kernel
    0 both kernel show golden-kernel
    0 same -q kernel pull --force golden-kernel
    0 same kernel delete golden-kernel";
const BROKEN_CATALOGS: &str = "
    8 both kernel list --available
    8 both image list --available
    8 both kernel pull anything";
const DISKS: &str = "
    0 both image ls small
    0 both image ls small / -R
    0 both image ls small bin/sh
    0 same image cat small /bin/sh
    3 both image ls small /nothing
    3 both image ls nothing /
    3 both image cat small /nothing
    3 both image cat nothing /nothing
    2 both image cat small /bin
    0 both image diff small small
    1 both image diff small other
    3 both image diff small nothing
    0 same image save small
    0 same image save small --format docker-archive
    0 same image save small --format rootfs-tar
    3 both image save nothing
    4 both image save small --output DISK";
const KEPT: &str = "
    0 both image prune --dry-run
    0 same --json image prune --older-than 7d
    0 same --json image prune --all --max-size 1M
    0 same --json image prune --all
    0 same image prune --all
    2 both image register own --rootfs /nowhere --kernel linux
    2 both image register own --rootfs DISK --kernel-path /nowhere
    3 both image register own --rootfs DISK --kernel nothing
    0 same --json image register own --rootfs DISK --kernel linux
    4 both image register own --rootfs DISK --kernel linux
    0 both image show own
    0 same --json image promote own
    4 both image promote own
    3 both image promote nothing
    0 both image list
    0 same image register other --rootfs CHANGED --kernel linux
    0 same image register files --rootfs DISK --kernel-path KERNEL
    0 both image show files";

impl Twins {
    /// Plays scenes, with words in place of others.
    fn play(&self, scenes: &str, words: &[(&str, &str)]) {
        for scene in scenes.lines().filter(|line| !line.trim().is_empty()) {
            let mut told = scene.split_whitespace().map(|word| {
                let other = words.iter().find(|(name, _)| *name == word);
                other.map_or(word, |(_, other)| *other)
            });
            let status = told.next().unwrap().parse().unwrap();
            let way = told.next().unwrap();
            let arguments: Vec<&str> = told.collect();
            match way {
                "both" => self.both(&arguments, status),
                _ => drop(self.same(&arguments, status)),
            }
        }
    }
}

#[test]
fn kernels_images_and_machines_at_rest_are_the_same_with_a_service() {
    let twins = Twins::start();
    let testbed = &twins.remote.testbed;
    let package = format!("deb:{}", testbed.join("kernel/kernel.deb"));
    let reference = twins.remote.layout("busybox", "latest");
    let words = [
        ("PACKAGE", package.as_str()),
        ("REFERENCE", reference.as_str()),
    ];
    twins.play(KERNELS_AND_IMAGES, &words);
    twins.play(MACHINES_AT_REST, &words);
    twins.agree();
}

#[test]
fn machines_and_their_commands_are_the_same_with_a_service() {
    let twins = Twins::with_image();
    twins.play(COMMANDS, &[]);
    let script = "echo out; echo err >&2; exit 5";
    let said = twins.same(&["vm", "exec", "one", "--", "sh", "-c", script], 5);
    assert_eq!(
        (said.stdout.as_str(), said.stderr.as_str()),
        ("out\n", "err\n")
    );
    let lines: Vec<String> = (0..60_000_u32).map(|one| format!("{one}\n")).collect();
    let input = lines.concat();
    let cat = ["vm", "exec", "-i", "one", "--", "cat"];
    let echoed = twins.same_with(&cat, 0, input.as_bytes());
    assert!(echoed.stdout == input, "{} bytes", echoed.stdout.len());
    let log = twins.remote(&["vm", "logs", "one", "--tail", "3"]);
    assert!(log.status.success() && !log.stdout.is_empty(), "{log:?}");

    let file = twins.remote.root.join("file");
    fs::write(&file, "content").unwrap();
    twins.play(FILES_AND_THE_END, &[("FILE", file.as_str())]);
    let script = "echo hi; exit 4";
    let run = ["-q", "vm", "run", "--rm", "small", "--", "sh", "-c", script];
    assert_eq!(twins.same(&run, 4).stdout, "hi\n");
    twins.same(&["vm", "list"], 0);
    twins.agree();
}

/// Two states with the same configuration.
fn configured(config: impl Fn(&Environment) -> String) -> Twins {
    let (embedded, remote) = (Environment::empty(), Environment::empty());
    for environment in [&embedded, &remote] {
        configure(environment, &config(environment));
    }
    Twins::over(embedded, remote)
}

#[test]
fn catalogs_are_the_same_with_a_service() {
    let twins = configured(|environment| {
        let golden = environment.testbed.join("golden-image");
        format!("[[catalogs]]\nname = \"golden\"\nsource = \"file:{golden}/catalog.json\"\n")
    });
    twins.play(CATALOGS, &[]);
    twins.agree();

    let twins = configured(|environment| {
        let catalog = environment.root.join("catalog.json");
        std::fs::write(&catalog, "{\"format\": 9}").unwrap();
        format!("[[catalogs]]\nname = \"broken\"\nsource = \"file:{catalog}\"\n")
    });
    twins.play(BROKEN_CATALOGS, &[]);
    twins.agree();
}

#[test]
fn the_host_is_looked_at_alike_with_a_service() {
    let twins = Twins::start();
    // the database is there
    twins.both(&["kernel", "list"], 0);
    let checks = |output: &Output, environment: &Environment| {
        let shown = shown(output, environment);
        assert_eq!(
            (shown.status, shown.stderr.as_str()),
            (Some(0), ""),
            "{shown:?}"
        );
        let mut checks: Vec<Value> = serde_json::from_str(&shown.stdout).unwrap();
        for check in &mut checks {
            if check["id"].as_str().unwrap().ends_with("-space") {
                // others write to that disk, too
                check["found"].take();
            }
        }
        checks
    };
    let embedded = twins.embedded.run(&["--json", "doctor"]);
    let embedded = checks(&embedded, &twins.embedded);
    let remote = checks(&twins.remote(&["--json", "doctor"]), &twins.remote);
    assert_eq!(embedded, remote);
    let guest = remote.iter().find(|check| check["id"] == "guest-program");
    assert_eq!(guest.unwrap()["status"], "ok", "{remote:#?}");

    // what keeps a database from being opened is told by the host's own look alone
    let environment = Environment::empty();
    std::fs::create_dir_all(environment.state()).unwrap();
    std::fs::write(environment.state().join("banger.db"), [7; 9000]).unwrap();
    let output = environment.run(&["doctor"]);
    assert_eq!(output.status.code(), Some(9), "{output:?}");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("not a database"), "{told}");
    assert!(told.contains("hint: database: "), "{told}");
}

#[test]
fn disks_and_files_of_images_are_the_same_with_a_service() {
    let twins = Twins::with_image();
    // files that are neither's own
    let shared = Environment::empty();
    let disk = shared.root.join("disk.ext4");
    let kernel = shared.root.join("vmlinux");
    let layout = shared.layout("busybox", "latest");
    shared.must(&["rootfs", "build", &layout, "-o", disk.as_str()]);
    let changed = shared.root.join("changed.ext4");
    copy_file(&disk, &changed).unwrap();
    for change in [
        "rm /bin/busybox",
        "mkdir /new",
        "set_inode_field /bin mode 040700",
    ] {
        change_disk(&changed, change);
    }
    let record = twins.embedded.must(&["--json", "kernel", "show", "linux"]);
    let record: Value = serde_json::from_str(&record).unwrap();
    let own = record["boot"]["kernel"].as_str().unwrap();
    copy_file(Utf8Path::new(own), &kernel).unwrap();
    for environment in [&twins.embedded, &twins.remote] {
        let blobs = environment.root.join("cache/blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        for (digit, length) in [("1", 3000), ("2", 2_000_000)] {
            fs::write(blobs.join(digit.repeat(64)), vec![0; length]).unwrap();
        }
    }
    let words = [
        ("DISK", disk.as_str()),
        ("CHANGED", changed.as_str()),
        ("KERNEL", kernel.as_str()),
    ];
    twins.play(KEPT, &words);
    twins.play(DISKS, &words);
    for format in ["oci-archive", "docker-archive", "rootfs-tar"] {
        let (embedded, remote) = (&twins.embedded.root, &twins.remote.root);
        let (one, other) = (embedded.join(format), remote.join(format));
        let saving = |file| {
            [
                "--json", "image", "save", "small", "--format", format, "-o", file,
            ]
        };
        let output = twins.embedded.run(&saving(one.as_str()));
        let again = twins.remote(&saving(other.as_str()));
        assert_eq!(
            shown(&output, &twins.embedded),
            shown(&again, &twins.remote)
        );
        assert!(
            fs::read(&one).unwrap() == fs::read(&other).unwrap(),
            "{format}"
        );
        let left = remote.read_dir_utf8().unwrap();
        let mut left = left.map(|entry| entry.unwrap().file_name().to_owned());
        assert!(!left.any(|name| name.ends_with(".partial")));
    }
    twins.agree();
}

/// Changes what is on a disk, by a line of debugfs(8).
fn change_disk(disk: &Utf8Path, line: &str) {
    #[expect(
        clippy::disallowed_methods,
        reason = "a tool that makes what is compared"
    )]
    let mut debugfs = Command::new("debugfs");
    debugfs.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let output = debugfs.args(["-w", "-R", line, disk.as_str()]).output();
    assert!(output.unwrap().status.success(), "{line}");
}

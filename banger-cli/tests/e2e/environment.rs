//! A banger of a test's own, with a kernel and perhaps images.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, ChildStderr, Command, Output, Stdio},
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};

use super::scratch::Scratch;

/// The longest any run of the program may take.
const DEADLINE: Duration = Duration::from_mins(4);

pub(crate) struct Environment {
    _scratch: Scratch,
    pub(crate) root: Utf8PathBuf,
    pub(crate) testbed: Utf8PathBuf,
}

impl Environment {
    /// No kernel, no image.
    pub(crate) fn empty() -> Self {
        let scratch = Scratch::new();
        let root = scratch.path().to_owned();
        Self {
            _scratch: scratch,
            root,
            testbed: part("BANGER_TESTBED"),
        }
    }

    /// A kernel, named `linux`.
    pub(crate) fn with_kernel() -> Self {
        let environment = Self::empty();
        let package = format!("deb:{}", environment.testbed.join("kernel/kernel.deb"));
        environment.must(&["kernel", "import", &package, "--name", "linux"]);
        environment
    }

    /// A kernel, and an image named `small` with nothing but busybox.
    pub(crate) fn with_image() -> Self {
        let environment = Self::with_kernel();
        let reference = environment.layout("busybox", "latest");
        environment.must(&["image", "pull", &reference, "--name", "small"]);
        environment
    }

    /// The reference of a layout of the test bed.
    pub(crate) fn layout(&self, name: &str, tag: &str) -> String {
        format!("oci:{}:{tag}", self.testbed.join(name))
    }

    /// The program with an environment of the test's own; `timeout` ends it
    /// when it hangs.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        #[expect(clippy::disallowed_methods, reason = "the program under test")]
        let mut command = Command::new("timeout");
        command
            .args([
                "--kill-after=5",
                &DEADLINE.as_secs().to_string(),
                env!("CARGO_BIN_EXE_banger"),
            ])
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", &self.root)
            .env("BANGER_STATE_DIR", self.state())
            .env("BANGER_CACHE_DIR", self.root.join("cache"))
            .env("BANGER_RUNTIME_DIR", self.root.join("run"))
            .env("BANGER_GUEST_PROGRAM", part("BANGER_GUEST_PROGRAM"))
            .stdin(Stdio::null());
        command
    }

    /// The same without `timeout` between, so that killing it kills the program.
    pub(crate) fn direct(&self, arguments: &[&str]) -> Command {
        let wrapped = self.command(arguments);
        #[expect(clippy::disallowed_methods, reason = "the program under test")]
        let mut command = Command::new(env!("CARGO_BIN_EXE_banger"));
        command.args(arguments).env_clear().stdin(Stdio::null());
        for (name, value) in wrapped.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        command
    }

    pub(crate) fn state(&self) -> Utf8PathBuf {
        self.root.join("state")
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs and answers standard output; any other status than 0 fails.
    pub(crate) fn must(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "banger {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs, fails unless the status is as expected, and answers standard error.
    pub(crate) fn refused(&self, arguments: &[&str], status: i32) -> String {
        let output = self.run(arguments);
        assert_eq!(
            output.status.code(),
            Some(status),
            "banger {arguments:?}: {output:?}"
        );
        String::from_utf8(output.stderr).unwrap()
    }

    /// The names that a listing answers.
    pub(crate) fn names(&self, object: &str) -> Vec<String> {
        let text = self.must(&["--json", object, "list"]);
        let list: serde_json::Value = serde_json::from_str(&text).unwrap();
        let name = |entry: &serde_json::Value| entry["name"].as_str().unwrap().to_owned();
        list.as_array().unwrap().iter().map(name).collect()
    }

    /// The state of a VM.
    pub(crate) fn vm_state(&self, vm: &str) -> String {
        let text = self.must(&["--json", "vm", "show", vm]);
        let vm: serde_json::Value = serde_json::from_str(&text).unwrap();
        vm["state"].as_str().unwrap().to_owned()
    }

    /// Fails if anything of a VM is left: a process, a socket, a directory, a
    /// held lock.
    pub(crate) fn assert_no_vm_left(&self) {
        assert_eq!(self.names("vm"), [""; 0]);
        assert_eq!(entries(&self.state().join("vms")), [""; 0]);
        assert_eq!(entries(&self.root.join("run")), [""; 0]);
        assert_eq!(self.processes(), [""; 0]);
        assert_eq!(self.held_locks(), [""; 0]);
    }

    /// Command lines of processes that name this environment.
    pub(crate) fn processes(&self) -> Vec<String> {
        let command_line = |entry: fs::DirEntry| fs::read(entry.path().join("cmdline")).ok();
        let all = fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(command_line);
        let text = all.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
        text.filter(|line| line.contains(self.root.as_str()))
            .collect()
    }

    /// Files of this environment that some process holds a lock on.
    fn held_locks(&self) -> Vec<String> {
        let locked: Vec<u64> = fs::read_to_string("/proc/locks")
            .unwrap()
            .lines()
            .filter_map(|line| {
                line.split_whitespace()
                    .find(|word| word.matches(':').count() == 2)
            })
            .filter_map(|inode| inode.rsplit(':').next()?.parse().ok())
            .collect();
        let inode = |path: &Utf8PathBuf| {
            std::os::unix::fs::MetadataExt::ino(&fs::symlink_metadata(path).unwrap())
        };
        let files = tree(&self.root);
        files
            .into_iter()
            .filter(|path| locked.contains(&inode(path)))
            .map(Utf8PathBuf::into_string)
            .collect()
    }
}

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

/// The names in a directory, none when it is not there.
pub(crate) fn entries(directory: &Utf8Path) -> Vec<String> {
    let Ok(entries) = directory.read_dir_utf8() else {
        return Vec::new();
    };
    entries
        .map(|entry| entry.unwrap().file_name().to_owned())
        .collect()
}

/// Every file and directory below `root`.
pub(crate) fn tree(root: &Utf8Path) -> Vec<Utf8PathBuf> {
    let mut left = vec![root.to_owned()];
    let mut found = Vec::new();
    while let Some(directory) = left.pop() {
        for entry in directory.read_dir_utf8().unwrap() {
            let path = entry.unwrap().into_path();
            if fs::symlink_metadata(&path).unwrap().is_dir() {
                left.push(path.clone());
            }
            found.push(path);
        }
    }
    found
}

/// Reads the child's standard error until a line contains `text`. Answers the
/// reader, so that the pipe stays open.
pub(crate) fn wait_for_line(child: &mut Child, text: &str) -> BufReader<ChildStderr> {
    let mut reader = BufReader::new(child.stderr.take().unwrap());
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        let read = reader.read_line(&mut line).unwrap();
        assert_ne!(
            read, 0,
            "the program ended without a line with {text:?}: {seen}"
        );
        if line.contains(text) {
            return reader;
        }
        seen.push_str(&line);
    }
}

/// Tries until `condition` holds; fails after half a minute.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let started = std::time::Instant::now();
    while !condition() {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "{what} did not come true"
        );
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

//! A service of a test's own.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use camino::{Utf8Path, Utf8PathBuf};

use super::scratch::Scratch;

/// The longest that a step outside of guests may take.
const DEADLINE: Duration = Duration::from_mins(1);
/// The longest that a whole client may take.
const CLIENT_DEADLINE: &str = "240";

pub(crate) struct Daemon {
    _scratch: Scratch,
    pub(crate) root: Utf8PathBuf,
    /// Beside those that every service of a test has.
    pub(crate) arguments: Vec<String>,
    /// What listens for it, and then becomes it.
    pub(crate) activation: Option<&'static str>,
    /// What it logged until it listened.
    said: Vec<String>,
    child: Option<Child>,
}

impl Daemon {
    /// A service over an empty state, listening.
    pub(crate) fn start() -> Self {
        let mut daemon = Self::stopped();
        daemon.again();
        daemon
    }

    /// One over an empty state that is not started.
    pub(crate) fn stopped() -> Self {
        let scratch = Scratch::new();
        let root = scratch.path().to_owned();
        Self {
            _scratch: scratch,
            root,
            arguments: Vec::new(),
            activation: None,
            said: Vec::new(),
            child: None,
        }
    }

    /// The address in a line that it logged.
    pub(crate) fn address(&self, of: &str) -> String {
        let line = self.said.iter().find(|line| line.contains(of)).unwrap();
        let (_, address) = line.rsplit_once("address=").unwrap();
        address.trim().to_owned()
    }

    /// Starts the program over the state there is, and waits until it listens.
    #[expect(
        clippy::print_stderr,
        reason = "a failed test shows what the service logged"
    )]
    pub(crate) fn again(&mut self) {
        let mut child = self.command().stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let is_last = |line: &String| line.contains("listening socket=");
        self.said.clear();
        while !self.said.last().is_some_and(is_last) {
            let line = lines.next().expect("the service did not start");
            self.said.push(line.unwrap());
        }
        // what it logs later must not fill the pipe
        thread::spawn(move || lines.for_each(|line| eprintln!("{}", line.unwrap_or_default())));
        self.child = Some(child);
    }

    /// The program, over this test's state.
    pub(crate) fn command(&self) -> Command {
        #[expect(clippy::disallowed_methods, reason = "the program under test")]
        let mut command = match self.activation {
            None => Command::new(env!("CARGO_BIN_EXE_bangerd")),
            Some(script) => {
                let mut python = Command::new("python3");
                python.args(["-c", script]).arg(self.socket());
                python.arg(env!("CARGO_BIN_EXE_bangerd"));
                python
            }
        };
        command
            .args(&self.arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", &self.root)
            .env("BANGER_STATE_DIR", self.root.join("state"))
            .env("BANGER_CACHE_DIR", self.root.join("cache"))
            .env("BANGER_RUNTIME_DIR", self.root.join("run"))
            .env("NOTIFY_SOCKET", self.root.join("notify"))
            .env("BANGER_GUEST_PROGRAM", part("BANGER_GUEST_PROGRAM"))
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn socket(&self) -> Utf8PathBuf {
        self.root.join("run/grpc.sock")
    }

    /// Runs one scene of the client in Python and answers what it printed.
    pub(crate) fn python(&self, scene: &str, arguments: &[&str]) -> String {
        let output = self.client(scene, arguments).output().unwrap();
        must(scene, &output)
    }

    /// One scene of the client in Python.
    pub(crate) fn client(&self, scene: &str, arguments: &[&str]) -> Command {
        let testbed = part("BANGER_TESTBED");
        let here = Utf8Path::new(env!("CARGO_MANIFEST_DIR"));
        #[expect(clippy::disallowed_methods, reason = "a client under test")]
        let mut python = Command::new("timeout");
        python
            .args(["--kill-after=5", CLIENT_DEADLINE, "python3", "-B"])
            .arg(here.join("tests/python/client.py"))
            .arg(scene)
            .arg(self.socket())
            .arg(here.join("../../proto"))
            .arg(self.root.join("stubs"))
            .args(arguments)
            .env("PYTHONPATH", testbed.join("python"))
            .stdin(Stdio::null());
        python
    }

    /// The example, with the stubs that a scene made.
    pub(crate) fn example(&self, arguments: &[&str]) -> Command {
        let here = Utf8Path::new(env!("CARGO_MANIFEST_DIR"));
        let packages = part("BANGER_TESTBED").join("python");
        #[expect(clippy::disallowed_methods, reason = "a client under test")]
        let mut python = Command::new("timeout");
        python
            .args(["--kill-after=5", CLIENT_DEADLINE, "python3", "-B"])
            .arg(here.join("../../examples/python/job.py"))
            .arg(self.socket())
            .args(arguments)
            .env(
                "PYTHONPATH",
                format!("{}:{packages}", self.root.join("stubs")),
            )
            .stdin(Stdio::null());
        python
    }

    pub(crate) fn pid(&self) -> String {
        self.child.as_ref().unwrap().id().to_string()
    }

    /// Sends the program a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        #[expect(
            clippy::disallowed_methods,
            reason = "a test's own child is told to end"
        )]
        let mut kill = Command::new("kill");
        let status = kill.args(["-s", name, &self.pid()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits until the program ended.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let started = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < DEADLINE, "the service did not end");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// What a client printed that went as it should.
pub(crate) fn must(scene: &str, output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{scene}: {said}\n{complaint}");
    said
}

/// Where a part is that `cargo xtask test` made.
pub(crate) fn part(variable: &str) -> Utf8PathBuf {
    #[expect(clippy::disallowed_methods, reason = "where the parts are")]
    let place = std::env::var(variable);
    place
        .unwrap_or_else(|_| panic!("{variable} is not set: run `cargo xtask test`"))
        .into()
}

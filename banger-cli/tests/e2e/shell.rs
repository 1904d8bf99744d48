//! `banger vm shell` on a terminal, and commands that outlive their banger.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags, open},
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

use super::environment::{Environment, eventually};

/// A user's terminal with a program on it.
struct Terminal {
    screen: File,
    line: OwnedFd,
    seen: String,
    program: Child,
}

impl Terminal {
    /// Starts banger as a terminal's session leader would be.
    fn run(environment: &Environment, arguments: &[&str]) -> Self {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let name = ptsname(&screen, Vec::new()).unwrap();
        let line = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let direct = environment.direct(arguments);
        #[expect(clippy::disallowed_methods, reason = "the program under test")]
        let mut command = Command::new("/usr/bin/setsid");
        command.arg("--ctty").arg(direct.get_program());
        command.args(direct.get_args()).env_clear();
        for (name, value) in direct.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        let end = || Stdio::from(line.try_clone().unwrap());
        let program = command
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let mut terminal = Self {
            screen: screen.into(),
            line,
            seen: String::new(),
            program,
        };
        terminal.resize(24, 80);
        terminal
    }

    fn keys(&mut self, keys: &str) {
        self.screen.write_all(keys.as_bytes()).unwrap();
    }

    fn resize(&mut self, rows: u16, columns: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.screen, size).unwrap();
    }

    /// Waits until the screen shows a text, and forgets all before its end.
    fn expect(&mut self, text: &str) {
        while !self.seen.contains(text) {
            let mut polled = [PollFd::new(&self.screen, PollFlags::IN)];
            let patience = Timespec {
                tv_sec: 60,
                tv_nsec: 0,
            };
            let ready = poll(&mut polled, Some(&patience)).unwrap();
            assert_eq!(ready, 1, "no {text:?} in {:?}", self.seen);
            let mut bytes = [0; 4096];
            let count = self.screen.read(&mut bytes).unwrap();
            self.seen += &String::from_utf8_lossy(&bytes[..count]);
        }
        let (_, rest) = self.seen.split_once(text).unwrap();
        self.seen = rest.to_owned();
    }

    fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.line).unwrap().local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    fn signal(&self, signal: Signal) {
        // setsid(1) has become banger
        let program = i32::try_from(self.program.id()).unwrap();
        kill_process(Pid::from_raw(program).unwrap(), signal).unwrap();
    }

    fn status(&mut self) -> Option<i32> {
        self.program.wait().unwrap().code()
    }
}

#[test]
fn a_shell_behaves_like_a_terminal_and_gives_it_back() {
    let environment = Environment::with_image();
    use_shells(&environment, &[]);
    environment.assert_no_vm_left();
}

/// What a shell does, with the program told that first.
pub(crate) fn use_shells(environment: &Environment, way: &[&str]) {
    environment.must(&[
        "vm", "run", "--detach", "--boot", "agent", "--name", "one", "small",
    ]);
    keys_and_sizes(environment, way);
    signals_give_it_back(environment, way);
    a_vanished_vm_gives_it_back(environment, way);
    environment.must(&["vm", "delete", "--force", "one"]);
}

fn keys_and_sizes(environment: &Environment, way: &[&str]) {
    let shell = ["vm", "shell", "one", "--user", "user"];
    let mut terminal = Terminal::run(environment, &[way, &shell].concat());
    terminal.expect("$ ");
    assert!(terminal.is_raw());
    terminal.keys("echo $0 $USER $((40+2))\n");
    terminal.expect("-sh user 42");
    terminal.keys("busybox stty size\n");
    terminal.expect("24 80");
    terminal.resize(33, 101);
    eventually("the guest's terminal has the size", || {
        let script = "for t in /dev/pts/[0-9]*; do busybox stty size < $t; done";
        let sizes = environment.must(&["vm", "exec", "one", "--", "sh", "-c", script]);
        sizes.contains("33 101")
    });
    terminal.keys("sleep 1234\n");
    // before it runs, the shell itself reads the keys
    eventually("the command runs", || {
        let running = environment.must(&["vm", "exec", "one", "--", "ps"]);
        running.contains("sleep 1234")
    });
    terminal.keys("\x03");
    terminal.expect("^C");
    terminal.keys("echo on $((2+3))\n");
    terminal.expect("on 5");
    terminal.keys("exit 9\n");
    assert_eq!(terminal.status(), Some(9));
    assert!(!terminal.is_raw());
}

fn signals_give_it_back(environment: &Environment, way: &[&str]) {
    let mut terminal = Terminal::run(environment, &[way, &["vm", "shell", "one"]].concat());
    terminal.expect("# ");
    assert!(terminal.is_raw());
    // an interactive shell does not mind the first
    terminal.signal(Signal::TERM);
    terminal.keys("echo still $((1+1))\n");
    terminal.expect("still 2");
    terminal.signal(Signal::TERM);
    assert_eq!(terminal.status(), Some(143));
    assert!(!terminal.is_raw());
}

fn a_vanished_vm_gives_it_back(environment: &Environment, way: &[&str]) {
    let mut terminal = Terminal::run(environment, &[way, &["vm", "shell", "one"]].concat());
    terminal.expect("# ");
    environment.must(&["vm", "kill", "one"]);
    terminal.expect("VM one went away while the command ran");
    assert_eq!(terminal.status(), Some(125));
    assert!(!terminal.is_raw());
}

#[test]
fn commands_outlive_their_banger() {
    let environment = Environment::with_image();
    environment.must(&[
        "vm", "run", "--detach", "--boot", "agent", "--name", "one", "small",
    ]);
    killed_and_joined(&environment);
    detached(&environment);
    limited(&environment);
    environment.must(&["vm", "delete", "--force", "one"]);
    environment.assert_no_vm_left();
}

fn killed_and_joined(environment: &Environment) {
    let script = "seq 400000; exit 6";
    let exec = ["vm", "exec", "--keep", "--id", "job", "one", "--"];
    let line = [&exec[..], &["sh", "-c", script]].concat();
    let mut command = environment.direct(&line);
    let mut banger = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = banger.stdout.take().unwrap();
    let mut all = vec![0; 300_000];
    stdout.read_exact(&mut all).unwrap();
    banger.kill().unwrap();
    banger.wait().unwrap();
    stdout.read_to_end(&mut all).unwrap();
    let offset = all.len().to_string();
    let joined = environment.run(&["vm", "attach", "one", "job", "--offset", &offset]);
    assert_eq!(joined.status.code(), Some(6), "{joined:?}");
    all.extend(joined.stdout);
    let expected = numbers(1..=400_000);
    assert!(all == expected.as_bytes(), "{} bytes", all.len());
    let message = environment.refused(&["vm", "attach", "one", "nobody"], 125);
    assert!(message.contains("vm execs one"), "{message}");
}

fn detached(environment: &Environment) {
    let exec = ["vm", "exec", "--detach", "one", "--", "sh", "-c"];
    let id = environment.must(&[&exec[..], &["echo out; sleep 1000"]].concat());
    let id = id.trim_end();
    let list = environment.must(&["--json", "vm", "execs", "one"]);
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let found = list.as_array().unwrap().iter().find(|one| one["id"] == id);
    assert_eq!(found.unwrap()["running"], true, "{list}");
    let mut command = environment.direct(&["vm", "attach", "one", id]);
    let mut attached = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut out = [0; 4];
    let mut stdout = attached.stdout.take().unwrap();
    stdout.read_exact(&mut out).unwrap();
    assert_eq!(&out, b"out\n");
    let banger = Pid::from_raw(i32::try_from(attached.id()).unwrap()).unwrap();
    kill_process(banger, Signal::TERM).unwrap();
    // it is passed on
    assert_eq!(attached.wait().unwrap().code(), Some(143));
    let table = environment.must(&["vm", "execs", "one"]);
    assert!(table.contains("signal 15"), "{table}");
}

fn limited(environment: &Environment) {
    let line = ["vm", "exec", "--timeout", "1", "one", "--", "sleep", "1000"];
    let message = environment.refused(&line, 124);
    assert!(message.contains("time was up"), "{message}");
}

/// Numbers, a line each.
fn numbers(range: impl Iterator<Item = u32>) -> String {
    use std::fmt::Write as _;
    range.fold(String::new(), |mut text, number| {
        writeln!(text, "{number}").unwrap();
        text
    })
}

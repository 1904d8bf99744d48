//! Terminals of machines and logs that are followed, with a service and without one.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Stdio},
    thread::{self, JoinHandle},
};

use super::{Environment, Service};
use crate::e2e::shell;

#[test]
fn a_shell_behaves_like_a_terminal_over_a_service() {
    let environment = Environment::with_image();
    let service = Service::start(&environment, &[]);
    shell::use_shells(&environment, &["--endpoint", &service.endpoint]);
}

/// Somebody who follows a log to its end.
struct Follower {
    program: Child,
    /// What it hears after the line that was waited for, and before.
    hearing: JoinHandle<String>,
}

impl Follower {
    /// Begins, and waits until the log says something.
    fn begin(environment: &Environment, way: &[&str], text: &str) -> Self {
        let logs = ["vm", "logs", "--follow", "one"];
        let mut command = environment.direct(&[way, &logs].concat());
        let mut program = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(program.stdout.take().unwrap());
        let mut heard = Vec::new();
        while !String::from_utf8_lossy(&heard).contains(text) {
            let read = output.read_until(b'\n', &mut heard).unwrap();
            assert_ne!(read, 0, "the log ended without {text}");
        }
        let hearing = thread::spawn(move || {
            output.read_to_end(&mut heard).unwrap();
            String::from_utf8_lossy(&heard).into_owned()
        });
        Self { program, hearing }
    }

    /// Everything, when it ended by itself.
    fn end(mut self) -> String {
        assert!(self.program.wait().unwrap().success());
        self.hearing.join().unwrap()
    }
}

#[test]
fn a_followed_log_is_the_same_with_a_service() {
    let environment = Environment::with_image();
    let service = Service::start(&environment, &[]);
    environment.must(&["vm", "create", "--name", "one", "small"]);
    environment.must(&["vm", "start", "one"]);
    let follow = |way: &[&str]| Follower::begin(&environment, way, "banger-guest: ready");
    let way = ["--endpoint", &service.endpoint];
    let followers = [follow(&[]), follow(&way)];
    for round in 0..5 {
        let script =
            format!("for n in 1 2 3; do echo \"round {round}, line $n.\"; done > /dev/ttyS0");
        environment.must(&["vm", "exec", "one", "--", "sh", "-c", &script]);
    }
    // a log ends with its machine
    environment.must(&[&way[..], &["vm", "stop", "one"]].concat());
    let [embedded, remote] = followers.map(Follower::end);
    assert_eq!(embedded, remote);
    let lines: Vec<&str> = remote
        .lines()
        .filter(|line| line.starts_with("round "))
        .map(str::trim_end)
        .collect();
    let numbers = (0..5).flat_map(|round| (1..=3).map(move |line| (round, line)));
    let expected: Vec<String> = numbers
        .map(|(round, line)| format!("round {round}, line {line}."))
        .collect();
    assert_eq!(lines, expected);
    for logs in [
        &["vm", "logs", "one"][..],
        &["vm", "logs", "--tail", "2", "one"],
    ] {
        let embedded = environment.must(logs);
        assert_eq!(environment.must(&[&way[..], logs].concat()), embedded);
        assert!(remote.ends_with(&embedded), "{embedded}");
    }
}

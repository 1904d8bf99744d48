//! Commands in running VMs.

use std::time::Duration;

use banger_core::vm::{ExecExit, ExecId, ExecInfo};
use serde::Serialize;

use super::table;

/// A command that was started and left alone, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StartedExecOutput {
    id: String,
}

impl From<&ExecId> for StartedExecOutput {
    fn from(id: &ExecId) -> Self {
        Self { id: id.to_string() }
    }
}

/// A command, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExecOutput {
    id: String,
    command: Vec<String>,
    pid: u32,
    terminal: bool,
    attached: bool,
    running: bool,
    exit: Option<ExecExitOutput>,
    first_offset: u64,
    end_offset: u64,
    age_seconds: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct ExecExitOutput {
    kind: &'static str,
    value: Option<u8>,
}

impl From<&ExecInfo> for ExecOutput {
    fn from(info: &ExecInfo) -> Self {
        Self {
            id: info.id.to_string(),
            command: info.argv.clone(),
            pid: info.pid,
            terminal: info.terminal,
            attached: info.attached,
            running: info.exit.is_none(),
            exit: info.exit.map(exit),
            first_offset: info.first_offset,
            end_offset: info.end_offset,
            age_seconds: info.age.as_secs(),
        }
    }
}

const fn exit(exit: ExecExit) -> ExecExitOutput {
    let (kind, value) = match exit {
        ExecExit::Code(code) => ("code", Some(code)),
        ExecExit::Signal(signal) => ("signal", Some(signal)),
        ExecExit::TimedOut => ("timed_out", None),
        ExecExit::OutOfMemory => ("out_of_memory", None),
        _ => ("other", None),
    };
    ExecExitOutput { kind, value }
}

/// Commands for people.
#[must_use]
pub fn exec_table(execs: &[ExecInfo]) -> String {
    let row = |info: &ExecInfo| {
        vec![
            info.id.to_string(),
            info.exit.map_or_else(|| "running".to_owned(), state),
            if info.attached { "yes" } else { "no" }.to_owned(),
            info.end_offset.to_string(),
            age(info.age),
            info.argv.join(" "),
        ]
    };
    let head = ["ID", "STATE", "ATTACHED", "OUTPUT", "AGE", "COMMAND"];
    table(&head, &execs.iter().map(row).collect::<Vec<_>>())
}

fn state(exit: ExecExit) -> String {
    match exit {
        ExecExit::Code(code) => format!("exited {code}"),
        ExecExit::Signal(signal) => format!("signal {signal}"),
        ExecExit::TimedOut => "timed out".to_owned(),
        ExecExit::OutOfMemory => "out of memory".to_owned(),
        _ => "ended".to_owned(),
    }
}

fn age(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds => format!("{}h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(exit: Option<ExecExit>) -> ExecInfo {
        ExecInfo {
            id: "job".parse().unwrap(),
            argv: vec!["sh".to_owned(), "\x1b[2J".to_owned()],
            pid: 7,
            terminal: false,
            attached: true,
            exit,
            first_offset: 1,
            end_offset: 20,
            age: Duration::from_hours(2),
        }
    }

    #[test]
    fn a_command_is_shown_on_one_safe_line() {
        let text = exec_table(&[info(None), info(Some(ExecExit::TimedOut))]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(
            lines[1].starts_with("job  running    yes       20      2h"),
            "{text}"
        );
        assert!(
            lines[2].contains("timed out") && !text.contains('\x1b'),
            "{text}"
        );
    }

    #[test]
    fn the_json_says_how_it_ended() {
        let json = serde_json::to_value(ExecOutput::from(&info(Some(ExecExit::Code(3))))).unwrap();
        assert_eq!(json["exit"]["kind"], "code");
        assert_eq!(json["exit"]["value"], 3);
        assert_eq!(json["running"], false);
        assert_eq!(json["age_seconds"], 7200);
    }
}

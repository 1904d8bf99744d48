//! Running programs and speaking to the person.

use std::{
    ffi::OsStr,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use crate::Result;

/// Prints one line of progress.
#[expect(clippy::print_stderr, reason = "a build task speaks to a person")]
pub(crate) fn say(line: &str) {
    eprintln!("xtask: {line}");
}

/// Does one step of a task and says what it is and how long it took.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    say(what);
    let started = Instant::now();
    let done = work()?;
    say(&format!("{what}: {:.1} s", started.elapsed().as_secs_f64()));
    Ok(done)
}

/// A command that runs in `directory`.
pub(crate) fn command(program: impl AsRef<OsStr>, directory: &Path) -> Command {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where tasks make children"
    )]
    let mut command = Command::new(program);
    command.current_dir(directory);
    command
}

/// Runs a command whose output the person sees.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let name = describe(command);
    let status = command
        .status()
        .map_err(|error| format!("{name} cannot be started: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{name} ended with {status}"))
    }
}

/// Runs a command without input and answers its standard output; its standard
/// error is part of the error when it fails.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let name = describe(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{name} cannot be started: {error}"))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "{name} ended with {}: {}",
            output.status,
            reason.trim()
        ));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("{name} printed no text"))
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

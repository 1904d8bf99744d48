//! Handing the machine over to the image's own init.
//!
//! This process becomes the image's init by execve(2), so that it keeps its
//! number, 1; the agent was forked before and stays beside it. The agent opens
//! the channel only once the init runs: the pipe it waits on closes on exec.
//!
//! The power-off goes through that init: by a signal to systemd, which need not
//! have `poweroff` installed, else by the image's own `poweroff`. A machine that
//! ends by a reset is asked for that instead.

use std::{
    convert::Infallible,
    ffi::OsStr,
    fs, io,
    os::{
        fd::OwnedFd,
        unix::{fs::PermissionsExt as _, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::{io::Errno, pipe::PipeFlags};

use super::{power::End, stage::Cause};
use crate::{
    console,
    sys::signals::{self, send_to_init},
};

/// Where an init is looked for: the kernel's own order, without its shell.
const PLACES: [&str; 3] = ["/sbin/init", "/etc/init", "/bin/init"];
/// Keeps systemd from a login on the console (systemd-getty-generator(8)): nobody
/// can type there, and an image without udev would wait 90 s for its device.
const NO_CONSOLE_LOGIN: &str = "SYSTEMD_GETTY_AUTO";
/// There while systemd is the first process (sd_booted(3)).
const SYSTEMD: &str = "/run/systemd/system";
/// What systemd powers off by, and what it resets by (systemd(1), "Signals":
/// `SIGRTMIN+4` and `SIGRTMIN+5`, of the C library).
const SYSTEMD_SIGNALS: [i32; 2] = [38, 39];
/// What busybox and its like power off by, and what they reset by.
const SMALL_SIGNALS: [i32; 2] = [libc::SIGUSR2, libc::SIGTERM];
/// The programs by which users do it.
const PROGRAMS: [&str; 2] = ["poweroff", "reboot"];
/// Where those lie.
const DIRECTORIES: [&str; 4] = ["/sbin", "/usr/sbin", "/bin", "/usr/bin"];

/// The program that shall be the first process, with its arguments.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Init {
    program: PathBuf,
    arguments: Vec<String>,
}

/// The two ends of the pipe by which the agent learns that the init runs.
#[derive(Debug)]
pub(super) struct Starting {
    wait: OwnedFd,
    tell: OwnedFd,
}

impl Init {
    /// The init that was asked for, or the image's.
    pub(super) fn find(argv: &[String]) -> Result<Self, Cause> {
        let wanted: Vec<&str> = match argv.first() {
            Some(program) => vec![program],
            None => PLACES.to_vec(),
        };
        let found = wanted.iter().find(|path| is_program(Path::new(path)));
        let program = found.ok_or_else(|| Cause::NoInit {
            looked_for: wanted.iter().map(|&path| path.to_owned()).collect(),
        })?;
        Ok(Self {
            program: PathBuf::from(program),
            arguments: argv.iter().skip(1).cloned().collect(),
        })
    }

    /// Becomes it. Signals are no longer held back when this fails.
    pub(super) fn become_it(&self) -> Result<Infallible, Cause> {
        signals::release_all();
        #[expect(
            clippy::disallowed_methods,
            reason = "this process itself becomes the program: there is no child"
        )]
        let error = Command::new(&self.program)
            .args(&self.arguments)
            .env(NO_CONSOLE_LOGIN, "0")
            .exec();
        Err(Cause::of("run", self.program.display())(error))
    }
}

/// Whether something is a file that can be run, links followed.
fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

impl Starting {
    pub(super) fn new() -> Result<Self, Cause> {
        let (wait, tell) =
            rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(Cause::of("make", "a pipe"))?;
        Ok(Self { wait, tell })
    }

    /// In the agent: waits until the init runs; answers whether it does.
    pub(super) fn wait(self) -> bool {
        drop(self.tell);
        loop {
            match rustix::io::read(&self.wait, &mut [0_u8; 1]) {
                Err(Errno::INTR) => {}
                read => return read == Ok(0),
            }
        }
    }

    /// In the first process: tells that the init does not run.
    pub(super) fn fail(&self) {
        let _ = rustix::io::write(&self.tell, b"!");
    }
}

/// Asks the image's init to end the machine.
pub(super) fn ask_for_end(end: End) {
    let which = usize::from(end == End::Reset);
    if Path::new(SYSTEMD).is_dir() {
        return signal_init(SYSTEMD_SIGNALS[which]);
    }
    let places = DIRECTORIES.map(|directory| Path::new(directory).join(PROGRAMS[which]));
    for program in places.iter().filter(|path| is_program(path)) {
        let name = program.display();
        match run(program) {
            Ok(true) => return,
            Ok(false) => console::line(format_args!("{name} failed")),
            Err(error) => console::line(format_args!("{name} cannot be run: {error}")),
        }
    }
    signal_init(SMALL_SIGNALS[which]);
}

fn signal_init(signal: i32) {
    if let Err(error) = send_to_init(signal) {
        console::line(format_args!(
            "the init cannot be sent signal {signal}: {error}"
        ));
    }
}

fn run(program: impl AsRef<OsStr>) -> io::Result<bool> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the guest's own program, waited for on the spot"
    )]
    let status = Command::new(program)
        .current_dir("/")
        .stdin(Stdio::null())
        .status()?;
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_run_and_nothing_else() {
        let asked = ["/bin/sh".to_owned(), "-c".to_owned()];
        let init = Init::find(&asked).unwrap();
        assert_eq!(init.program, Path::new("/bin/sh"));
        assert_eq!(init.arguments, ["-c"]);
        let missing = Init::find(&["/nowhere/init".to_owned()]).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "the image has no init: there is neither /nowhere/init"
        );
    }

    #[test]
    fn a_program_is_an_executable_file() {
        assert!(is_program(Path::new("/bin/sh")));
        assert!(!is_program(Path::new("/bin")));
        assert!(!is_program(Path::new("/etc/passwd")));
    }
}

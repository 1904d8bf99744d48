//! A child from fork to exec.
//!
//! Everything is prepared before the fork. The child tells a failure through
//! its report pipe in [`REPORT`] bytes and ends; the pipe closes by itself when
//! the new program begins.

use std::{
    convert::Infallible,
    ffi::{CStr, CString, c_char},
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    ptr,
};

use rustix::{
    fs::{Access, AtFlags, CWD, Mode, OFlags},
    io::Errno,
    process::{Gid, Pid, Uid},
};

use super::signals;

/// Bytes of a failure report: the step, then the error number, little endian.
pub(crate) const REPORT: usize = 5;

/// Whom a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// User.
    pub(crate) uid: Uid,
    /// Group.
    pub(crate) gid: Gid,
    /// Supplementary groups.
    pub(crate) groups: Vec<Gid>,
}

/// Everything a child needs.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Paths to try in turn, as execvp(3) does.
    pub(crate) candidates: Vec<CString>,
    /// The arguments, the program's name first.
    pub(crate) arguments: Vec<CString>,
    /// The whole environment.
    pub(crate) environment: Vec<CString>,
    /// Where it starts.
    pub(crate) working_directory: CString,
    /// Where it starts when it cannot start there.
    pub(crate) fallback_directory: Option<CString>,
    /// Whom it runs as.
    pub(crate) identity: Identity,
}

/// Where the child's standard streams go.
#[derive(Debug)]
pub(crate) struct Streams {
    /// Standard input, output and error; each number is above 2.
    pub(crate) descriptors: [OwnedFd; 3],
    /// Standard input is a terminal that the child is to control.
    pub(crate) terminal: bool,
}

/// What a child was doing when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Step {
    /// Session, terminal, streams.
    Setup = 1,
    /// Entering the working directory.
    WorkingDirectory = 2,
    /// Becoming the user.
    Identity = 3,
    /// The program is there, what it asks to be run by is not.
    Interpreter = 4,
    /// Running the program.
    Program = 5,
}

/// A child that did not become the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// What it was doing.
    pub(crate) step: Step,
    /// Why it failed.
    pub(crate) errno: Errno,
}

impl Fault {
    /// Reads a report.
    pub(crate) fn parse([step, errno @ ..]: [u8; REPORT]) -> Self {
        let step = match step {
            2 => Step::WorkingDirectory,
            3 => Step::Identity,
            4 => Step::Interpreter,
            5 => Step::Program,
            _ => Step::Setup,
        };
        let errno = Errno::from_raw_os_error(i32::from_le_bytes(errno));
        Self { step, errno }
    }

    fn report(self) -> [u8; REPORT] {
        let [a, b, c, d] = self.errno.raw_os_error().to_le_bytes();
        [self.step as u8, a, b, c, d]
    }
}

trait During<T> {
    fn during(self, step: Step) -> Result<T, Fault>;
}

impl<T> During<T> for Result<T, Errno> {
    fn during(self, step: Step) -> Result<T, Fault> {
        self.map_err(|errno| Fault { step, errno })
    }
}

/// Starts the child: it leads a session and a process group of its own. What
/// becomes of it is read from the other end of `report`, which must close on
/// exec: a report, or the end when the program runs.
pub(crate) fn start(plan: &Plan, streams: &Streams, report: BorrowedFd<'_>) -> io::Result<Pid> {
    let arguments = pointers(&plan.arguments);
    let environment = pointers(&plan.environment);
    // SAFETY: the child makes async-signal-safe calls only and never returns.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let Err(fault) = become_program(plan, streams, &arguments, &environment);
            let _ = rustix::io::write(report, &fault.report());
            // SAFETY: ends the process without running anything of the parent's.
            unsafe { libc::_exit(127) }
        }
        child => Pid::from_raw(child).ok_or_else(|| io::Error::from(Errno::CHILD)),
    }
}

/// The null-terminated form that execve(2) takes; borrows the strings.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    let each = strings.iter().map(|string| string.as_ptr());
    each.chain([ptr::null()]).collect()
}

fn become_program(
    plan: &Plan,
    streams: &Streams,
    arguments: &[*const c_char],
    environment: &[*const c_char],
) -> Result<Infallible, Fault> {
    signals::reset();
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    rustix::process::setsid().during(Step::Setup)?;
    attach(streams).during(Step::Setup)?;
    allow_memory_kill();
    // as root, before the user's own rights count: what runc does
    enter(plan).during(Step::WorkingDirectory)?;
    assume(&plan.identity).during(Step::Identity)?;
    Err(execute(&plan.candidates, arguments, environment))
}

fn enter(plan: &Plan) -> Result<(), Errno> {
    let entered = rustix::process::chdir(plan.working_directory.as_c_str());
    match &plan.fallback_directory {
        Some(fallback) if entered.is_err() => rustix::process::chdir(fallback.as_c_str()),
        _ => entered,
    }
}

fn attach(streams: &Streams) -> Result<(), Errno> {
    let [input, output, error] = &streams.descriptors;
    if streams.terminal {
        rustix::process::ioctl_tiocsctty(input)?;
    }
    rustix::stdio::dup2_stdin(input)?;
    rustix::stdio::dup2_stdout(output)?;
    rustix::stdio::dup2_stderr(error)?;
    close_others_on_exec();
    Ok(())
}

/// Everything the agent opens closes on exec anyway; this also holds for what
/// it was started with.
fn close_others_on_exec() {
    // SAFETY: takes no pointers. Kernels before 5.11 refuse, which is harmless.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
}

/// The agent itself is spared when memory runs out; its children are not.
fn allow_memory_kill() {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    if let Ok(score) = rustix::fs::openat(CWD, c"/proc/self/oom_score_adj", flags, Mode::empty()) {
        let _ = rustix::io::write(score.as_fd(), b"0");
    }
}

fn assume(identity: &Identity) -> Result<(), Errno> {
    // the child has one thread, so the calls for a thread are those for it all
    rustix::thread::set_thread_groups(&identity.groups)?;
    rustix::thread::set_thread_res_gid(identity.gid, identity.gid, identity.gid)?;
    rustix::thread::set_thread_res_uid(identity.uid, identity.uid, identity.uid)
}

/// Tries the candidates as execvp(3) does: what is missing or forbidden is
/// passed over, and a forbidden one is the answer when none runs.
fn execute(
    candidates: &[CString],
    arguments: &[*const c_char],
    environment: &[*const c_char],
) -> Fault {
    let mut answer = None;
    for candidate in candidates {
        let fault = execute_one(candidate, arguments, environment);
        match (fault.step, fault.errno) {
            (Step::Program, Errno::NOENT | Errno::NOTDIR) => {}
            (Step::Interpreter, _) | (_, Errno::ACCESS) => answer = answer.or(Some(fault)),
            _ => return fault,
        }
    }
    answer.unwrap_or(Fault {
        step: Step::Program,
        errno: Errno::NOENT,
    })
}

fn execute_one(
    candidate: &CStr,
    arguments: &[*const c_char],
    environment: &[*const c_char],
) -> Fault {
    // SAFETY: the path is a C string; both vectors end with null and the
    // strings they point to are alive.
    unsafe { libc::execve(candidate.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    let error = io::Error::last_os_error();
    let errno = Errno::from_io_error(&error).unwrap_or(Errno::NOEXEC);
    let exists = || rustix::fs::accessat(CWD, candidate, Access::EXISTS, AtFlags::empty()).is_ok();
    let step = if errno == Errno::NOENT && exists() {
        Step::Interpreter
    } else {
        Step::Program
    };
    Fault { step, errno }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_survives_the_pipe() {
        for step in [
            Step::Setup,
            Step::WorkingDirectory,
            Step::Identity,
            Step::Interpreter,
            Step::Program,
        ] {
            let fault = Fault {
                step,
                errno: Errno::ACCESS,
            };
            assert_eq!(Fault::parse(fault.report()), fault);
        }
    }
}

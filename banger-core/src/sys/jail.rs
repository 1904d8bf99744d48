//! Processes, mounts and namespaces for a VMM that is to see nothing else.
//!
//! Invariants: everything a child needs is laid ready before the fork; between
//! fork and exec it makes system calls only. No mount is made where this
//! process lives: mounts are made without a place and given one in the child's own
//! namespace. Entry points: [`idle`], [`NewProcesses`], [`enter_mounts`],
//! [`within_mounts`], [`map_owner`].

use std::{
    ffi::CString,
    io, mem,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    thread,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, pause, poll},
    fs::{CWD, Mode, OFlags, open},
    io::Errno,
    mount::{MountPropagationFlags, MoveMountFlags, mount_change, move_mount},
    process::{PidfdFlags, Signal, getpid, pidfd_open, set_parent_process_death_signal},
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe},
};
use tokio::process::Command;

/// What a mount that others use is never for: programs and devices.
const INERT: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;

/// A mount without a place yet, and the place it is to get.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) mount: OwnedFd,
    pub(crate) path: CString,
}

/// Has the child never become the command's program, but sleep until it is
/// killed, which it is with the calling thread. It has nothing open.
pub(crate) fn idle(command: &mut Command, in_user_namespace: bool) -> io::Result<()> {
    let parent = own_handle()?;
    let sleep = move || {
        if in_user_namespace {
            // SAFETY: the descriptor table, which others could rely on, stays shared.
            unsafe { unshare_unsafe(UnshareFlags::NEWUSER) }?;
        }
        die_with(&parent)?;
        // the caller, too, goes on when its end of the pipe to it is closed
        close_everything();
        loop {
            pause();
        }
    };
    // SAFETY: the closure makes system calls and allocates nothing.
    unsafe {
        command.pre_exec(sleep);
    }
    Ok(())
}

/// [`super::die_with_parent`] for a child in another process namespace, from
/// where no parent can be seen. Changing its user frees the child of it.
pub(crate) fn die_with_distant_parent(command: &mut Command) -> io::Result<()> {
    let parent = own_handle()?;
    // SAFETY: the closure makes system calls and allocates nothing.
    unsafe {
        command.pre_exec(move || die_with(&parent));
    }
    Ok(())
}

fn own_handle() -> io::Result<OwnedFd> {
    Ok(pidfd_open(getpid(), PidfdFlags::empty())?)
}

fn die_with(parent: &OwnedFd) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut ended = [PollFd::new(parent, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    match poll(&mut ended, Some(&now))? {
        0 => Ok(()),
        _ => Err(Errno::SRCH.into()),
    }
}

fn close_everything() {
    // SAFETY: this process uses no descriptor any more.
    unsafe {
        libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0);
    }
}

/// While this lives, children of the calling thread are born into one new
/// process namespace; when the first of them ends, the kernel kills the others.
#[derive(Debug)]
pub(crate) struct NewProcesses {
    own: OwnedFd,
    _of_this_thread: std::marker::PhantomData<*const ()>,
}

impl NewProcesses {
    pub(crate) fn begin() -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let own = open(c"/proc/thread-self/ns/pid", flags, Mode::empty())?;
        // SAFETY: nothing but the namespace of coming children changes.
        unsafe { unshare_unsafe(UnshareFlags::NEWPID) }?;
        Ok(Self {
            own,
            _of_this_thread: std::marker::PhantomData,
        })
    }
}

impl Drop for NewProcesses {
    fn drop(&mut self) {
        let kind = Some(LinkNameSpaceType::ProcessID);
        if let Err(error) = move_into_link_name_space(self.own.as_fd(), kind) {
            tracing::error!(%error, "this thread's children stay in a namespace of their own");
        }
    }
}

/// Has the child live in a mount namespace of its own, in which the mounts
/// have their places, in order.
pub(crate) fn enter_mounts(command: &mut Command, mounts: Vec<Placed>) {
    let enter = move || {
        // SAFETY: the descriptor table, which others could rely on, stays shared.
        unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
        let alone = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change(c"/", alone)?;
        mounts.iter().try_for_each(place)
    };
    // SAFETY: the closure makes system calls and allocates nothing; what it
    // borrows was made before the fork.
    unsafe {
        command.pre_exec(enter);
    }
}

/// Gives a mount its place in the mount namespace of the calling thread.
pub(crate) fn place(placed: &Placed) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(move_mount(
        &placed.mount,
        c"",
        CWD,
        placed.path.as_c_str(),
        flags,
    )?)
}

/// Does some work in another mount namespace, on a thread of its own.
pub(crate) fn within_mounts<T: Send + 'static>(
    namespace: OwnedFd,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let enter = move || {
        // SAFETY: root and working directory of this thread alone change.
        unsafe { unshare_unsafe(UnshareFlags::FS) }?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))?;
        work()
    };
    let thread = thread::Builder::new().spawn(enter)?;
    thread
        .join()
        .unwrap_or_else(|cause| std::panic::resume_unwind(cause))
}

/// Has files of a mount that has no place yet belong to other users, those of
/// `users` (mount_setattr(2)), and be nothing but files.
pub(crate) fn map_owner(
    mount: BorrowedFd<'_>,
    users: BorrowedFd<'_>,
    read_only: bool,
) -> io::Result<()> {
    let mut attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP | INERT,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::from(users.as_raw_fd().unsigned_abs()),
    };
    if read_only {
        attributes.attr_set |= libc::MOUNT_ATTR_RDONLY;
    }
    // SAFETY: the path is empty and ends with NUL, and the structure lives
    // longer than the call that reads it.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            mem::size_of::<libc::mount_attr>(),
        )
    };
    if answer == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

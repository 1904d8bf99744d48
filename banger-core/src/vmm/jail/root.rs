//! A jail's root, and the processes in it.

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::fs::{chown, lchown},
    },
    process::Stdio,
};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::{
    fs::{CWD, Mode, OFlags, mkfifoat, open},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, UnmountFlags, fsconfig_create,
        fsconfig_set_string, fsmount, fsopen, unmount,
    },
};
use tokio::{
    net::UnixListener,
    process::{Child, ChildStderr, Command},
};

use super::{choice::ChosenJail, mapping::Mapping};
use crate::{
    host_fs::{IoContext as _, PathError},
    process::command,
    step::reached,
    sys::jail::{
        NewProcesses, Placed, die_with_distant_parent, enter_mounts, idle, place, within_mounts,
    },
    task::off_thread,
};

/// Most that a jail's root holds: the VMM's program, for the most part.
const ROOT_SIZE: &str = "64m";
/// Most files in it.
const ROOT_FILES: &str = "128";
/// Where the VMM complains, for its log as for its standard error.
pub(crate) const LOG: &str = "log";
/// What the keeper is called in errors.
const KEEPER: &str = "keeper";

/// What a jail is made for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JailRequest<'a> {
    pub(crate) chosen: &'a ChosenJail,
    /// The VMM's program.
    pub(crate) program: &'a Utf8Path,
    /// An existing directory, which the jail covers for the VMM alone.
    pub(crate) directory: &'a Utf8Path,
    /// Its name, as the jailer takes one.
    pub(crate) name: &'a str,
    /// Its user and group.
    pub(crate) id: u32,
}

/// A jail in the making.
#[derive(Debug)]
pub(crate) struct Jail {
    id: u32,
    /// Its root as it will be found from the VMM's namespace.
    root: Utf8PathBuf,
    /// The same, from here.
    inside: OwnedFd,
    mapping: Mapping,
    /// The file system of the root first.
    mounts: Vec<Placed>,
    jailer: Command,
}

/// What a VMM's process needs to be jailed.
#[derive(Debug)]
pub(crate) struct Confinement {
    mounts: Vec<Placed>,
    log: OwnedFd,
    complaints: OwnedFd,
}

/// The jail of a VMM that runs.
#[derive(Debug)]
pub(crate) struct RunningJail {
    mapping: Mapping,
}

impl Jail {
    pub(crate) fn make(request: &JailRequest<'_>) -> Result<Self, PathError> {
        let JailRequest {
            chosen,
            program,
            directory,
            name,
            id,
        } = *request;
        // where the jailer looks for it
        let program = program.canonicalize_utf8().at("find", program)?;
        let program_name = program.file_name().unwrap_or_default();
        let beneath = Utf8Path::new(program_name).join(name).join("root");
        let root = directory.join(&beneath);
        let mount = file_system().at("make a file system for", &root)?;
        let outside = handle(&mount).join(&beneath);
        fs::create_dir_all(&outside).at("create directory", &root)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let inside = open(outside.as_str(), flags, Mode::empty()).at("open", &root)?;
        let mut jailer = command(&chosen.program);
        let id_text = id.to_string();
        jailer
            .args(["--id", name, "--exec-file", program.as_str()])
            .args(["--uid", &id_text, "--gid", &id_text])
            .args(["--chroot-base-dir", directory.as_str(), "--"])
            .current_dir("/");
        let base = Placed {
            mount,
            path: c_string(directory).at("mount at", directory)?,
        };
        reached("made the root of a jail");
        Ok(Self {
            id,
            root,
            inside,
            mapping: Mapping::to(id),
            mounts: vec![base],
            jailer,
        })
    }

    /// Has a file of the host be found in the root under a name, and belong to
    /// the jail's user there.
    pub(crate) fn give(
        &mut self,
        file: &Utf8Path,
        name: &str,
        read_only: bool,
    ) -> Result<(), PathError> {
        self.keep_place(name)?;
        let path = self.root.join(name);
        self.mounts.push(Placed {
            mount: self.mapping.mount(file, read_only)?,
            path: c_string(&path).at("mount at", &path)?,
        });
        reached("gave a file to a jail");
        Ok(())
    }

    /// Makes an empty file that a file can be mounted over.
    pub(crate) fn keep_place(&self, name: &str) -> Result<(), PathError> {
        let place = self.outside(name);
        fs::File::create_new(&place).map(drop).at("create", &place)
    }

    /// Listens on a socket in the root.
    pub(crate) fn listen(&self, name: &str) -> Result<UnixListener, PathError> {
        let socket = self.outside(name);
        let listener = UnixListener::bind(&socket).at("bind socket", &socket)?;
        lchown(&socket, Some(self.id), Some(self.id)).at("give to a jail's user", &socket)?;
        Ok(listener)
    }

    /// A way to the root from this process, for as long as nobody else is in
    /// there.
    pub(crate) fn inside(&self) -> io::Result<OwnedFd> {
        self.inside.try_clone()
    }

    /// Makes a named pipe in the root, which is open for reading from now on.
    pub(crate) fn pipe(&self, name: &str) -> Result<OwnedFd, PathError> {
        let path = self.outside(name);
        mkfifoat(CWD, path.as_str(), Mode::RUSR | Mode::WUSR).at("create pipe", &path)?;
        chown(&path, Some(self.id), Some(self.id)).at("give to a jail's user", &path)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        open(path.as_str(), flags, Mode::empty()).at("open", &path)
    }

    /// Ends the making: the jailer's command, to which the VMM's own arguments
    /// are still to be added, and what is needed to start it and afterwards.
    pub(crate) fn finish(self) -> Result<(Command, Confinement, RunningJail), PathError> {
        let log = self.pipe(LOG)?;
        let path = self.outside(LOG);
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let complaints = open(path.as_str(), flags, Mode::empty()).at("open", &path)?;
        let confinement = Confinement {
            mounts: self.mounts,
            log,
            complaints,
        };
        let running = RunningJail {
            mapping: self.mapping,
        };
        Ok((self.jailer, confinement, running))
    }

    fn outside(&self, name: &str) -> Utf8PathBuf {
        handle(&self.inside).join(name)
    }
}

impl Confinement {
    /// Has a command be started in the jail; answers its complaints.
    pub(crate) fn confine(self, command: &mut Command) -> io::Result<ChildStderr> {
        command.stderr(Stdio::from(self.complaints));
        enter_mounts(command, self.mounts);
        die_with_distant_parent(command)?;
        ChildStderr::from_std(self.log.into())
    }
}

/// Starts a confined command; answers the keeper, and its child.
pub(crate) fn spawn_kept(confined: &mut Command) -> io::Result<(Child, Child)> {
    let mut sleeper = command(KEEPER);
    idle(&mut sleeper, false)?;
    let _processes = NewProcesses::begin()?;
    let keeper = sleeper.process_group(0).spawn()?;
    reached("started the keeper of a jail");
    Ok((keeper, confined.spawn()?))
}

impl RunningJail {
    /// Has files of the host be found, and be written to, under names in the
    /// root of the VMM that has this process id. Those that were there are not
    /// any more.
    pub(crate) async fn lend(
        &mut self,
        vmm: u32,
        files: &[(&Utf8Path, &str)],
    ) -> Result<(), PathError> {
        let mut mounts = Vec::with_capacity(files.len());
        for (file, name) in files {
            mounts.push(Placed {
                mount: self.mapping.mount(file, false)?,
                path: c_string(&in_root(name)).at("mount at", file)?,
            });
        }
        let lend = move || {
            for placed in &mounts {
                detach(placed.path.as_c_str());
                place(placed)?;
            }
            Ok(())
        };
        within(vmm, lend).await
    }

    /// Takes back what was lent.
    pub(crate) async fn take_back(vmm: u32, names: &[&str]) -> Result<(), PathError> {
        let paths: Vec<_> = names.iter().map(|name| in_root(name)).collect();
        let take = move || {
            for path in &paths {
                detach(path.as_str());
            }
            Ok(())
        };
        within(vmm, take).await
    }
}

/// Does some work in the mount namespace of a VMM.
async fn within(
    vmm: u32,
    work: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> Result<(), PathError> {
    let path = Utf8PathBuf::from(format!("/proc/{vmm}/ns/mnt"));
    let namespace = fs::File::open(&path).at("open", &path)?;
    let worked = off_thread(move || within_mounts(namespace.into(), work)).await;
    worked.at("change the mounts of", &path)
}

/// Mounts are the only thing that may be at such a path; there may be none.
fn detach(path: impl rustix::path::Arg) {
    let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
    if let Err(error) = unmount(path, flags) {
        tracing::debug!(%error, "nothing was lent to a jail");
    }
}

fn in_root(name: &str) -> Utf8PathBuf {
    Utf8Path::new("/").join(name)
}

/// A file system in memory, without a place.
fn file_system() -> rustix::io::Result<OwnedFd> {
    let making = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in [
        ("size", ROOT_SIZE),
        ("nr_inodes", ROOT_FILES),
        ("mode", "0755"),
    ] {
        fsconfig_set_string(making.as_fd(), key, value)?;
    }
    fsconfig_create(making.as_fd())?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    fsmount(making.as_fd(), flags, MountAttrFlags::empty())
}

/// A path that leads to what is open, in this process.
fn handle(open: &OwnedFd) -> Utf8PathBuf {
    format!("/proc/self/fd/{}", open.as_raw_fd()).into()
}

fn c_string(path: &Utf8Path) -> io::Result<CString> {
    Ok(CString::new(path.as_str())?)
}

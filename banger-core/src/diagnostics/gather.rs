//! Looking at this host.
//!
//! Invariants: every look has a deadline of its own, and all of them go on at the
//! same time; what is not there yet is not made, so what counts is the nearest
//! directory that is.

use std::{io, time::Duration, time::SystemTime};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::{Resource, getrlimit};
use tokio::time::timeout;

use super::{
    Answer, DirectoryFacts, Facts, GuestFacts, HelperFacts, HostOptions, PlaceFacts, ToolFacts,
    database,
};
use crate::{
    error::in_words,
    host_fs::{check_private_directory, nameless_file, shares_blocks},
    image::{build::ContainerBuilder, e2fsprogs},
    process::{ChildError, command, run},
    task::off_thread,
    vm::check_socket_paths,
    vmm::{HostFacts, JailFacts, VmmPrograms, is_executable, network::namespace::enclose},
};

/// What each look may take.
const DEADLINE: Duration = Duration::from_secs(10);

impl Facts {
    /// Looks at a host, whose clock says `now`.
    pub async fn gather(options: &HostOptions, now: SystemTime) -> Self {
        let HostOptions {
            directories,
            guest_program,
            vmm,
        } = options;
        let firecracker = vmm.firecracker.as_deref();
        let programs = vmm.clone();
        let (host, jail, qemu, version, helper) = tokio::join!(
            blocking(move || Ok(HostFacts::gather(&programs))),
            jail(vmm, &directories.state),
            version_of(vmm.qemu.as_deref()),
            version_of(firecracker),
            helper(vmm),
        );
        let (guest, places, database, tools) = tokio::join!(
            guest(guest_program),
            places(options),
            within(database::look(directories)),
            tools(),
        );
        Self {
            programs: vmm.clone(),
            host,
            jail,
            qemu,
            firecracker: version,
            helper,
            guest,
            directories: places,
            database,
            tools,
            open_files: getrlimit(Resource::Nofile).current,
            now,
        }
    }
}

/// Gives a look up at its deadline.
async fn within<T>(look: impl Future<Output = Answer<T>>) -> Answer<T> {
    let late = || Err(format!("there was no answer within {DEADLINE:?}"));
    timeout(DEADLINE, look).await.unwrap_or_else(|_| late())
}

/// A look that holds up its thread. One that nobody waits for any more ends by
/// itself, if at all: a file system may hang.
async fn blocking<T: Send + 'static>(
    look: impl FnOnce() -> Answer<T> + Send + 'static,
) -> Answer<T> {
    within(off_thread(look)).await
}

fn words(error: &dyn std::error::Error) -> String {
    in_words(error)
}

async fn jail(vmm: &VmmPrograms, state: &Utf8Path) -> Option<Answer<JailFacts>> {
    vmm.firecracker.as_ref()?;
    let (jail, directory) = (vmm.jail.clone(), nearest(state));
    Some(blocking(move || Ok(JailFacts::gather(&jail, &directory))).await)
}

/// What a program says of its version; none without a program.
async fn version_of(program: Option<&Utf8Path>) -> Option<Answer<String>> {
    let program = program?;
    if !is_executable(program) {
        return Some(Err(format!("{program} is not an executable file")));
    }
    Some(said(program.as_str()).await.unwrap_or_else(|| {
        let gone = format!("{program} does not exist");
        Err(gone)
    }))
}

/// What a program says of its version; none when there is no such program.
async fn said(program: &str) -> Option<Answer<String>> {
    let mut child = command(program);
    child.env("LC_ALL", "C").arg("--version");
    found(run(child, DEADLINE).await.map(|said| first_line(&said)))
}

/// None of a program that is not there.
fn found(ran: Result<String, ChildError>) -> Option<Answer<String>> {
    match ran {
        Err(ChildError::Spawn { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
        ran => Some(ran.map_err(|error| words(&error))),
    }
}

fn first_line(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    text.lines().next().unwrap_or_default().trim().to_owned()
}

async fn helper(vmm: &VmmPrograms) -> Option<HelperFacts> {
    vmm.firecracker.as_ref()?;
    Some(HelperFacts {
        slirp4netns: version_of(vmm.slirp4netns.as_deref()).await,
        namespaces: within(namespaces()).await,
    })
}

/// Makes the namespaces of a network, as for a VMM; they end with the child.
async fn namespaces() -> Answer<()> {
    let mut child = command("true");
    let mut enclosure = enclose(&mut child).map_err(|error| words(&error))?;
    let started = child.spawn();
    if let Some(failure) = enclosure.failure() {
        return Err(words(&failure));
    }
    // the program does not matter, and need not be there
    if let Ok(mut child) = started {
        drop(child.wait().await);
    }
    Ok(())
}

async fn guest(path: &Utf8Path) -> GuestFacts {
    GuestFacts {
        path: path.to_owned(),
        generation: generation(path).await,
    }
}

async fn generation(path: &Utf8Path) -> Answer<u32> {
    if !path.exists() {
        return Err("it does not exist".to_owned());
    }
    if !is_executable(path) {
        return Err("it is not an executable file".to_owned());
    }
    let mut child = command(path.as_str());
    child.arg("--generation");
    let said = run(child, DEADLINE).await;
    let said = first_line(&said.map_err(|error| words(&error))?);
    said.parse()
        .map_err(|_| format!("it says {said:?} and not which generation of the protocol it speaks"))
}

async fn places(options: &HostOptions) -> DirectoryFacts {
    let directories = options.directories.clone();
    let state = nearest(&directories.state);
    let runtime = directories.runtime.clone();
    let (state_facts, cache, runtime_facts, reflinks, private) = tokio::join!(
        place(&directories.state),
        place(&directories.cache),
        place(&directories.runtime),
        blocking(move || shares_blocks(&state).map_err(|error| words(&error))),
        blocking(move || private(&runtime)),
    );
    DirectoryFacts {
        state: state_facts,
        cache,
        runtime: runtime_facts,
        runtime_is_private: private,
        sockets: check_socket_paths(&directories).map_err(|error| words(&error)),
        reflinks,
    }
}

/// One that is not there yet is made as it should be.
fn private(runtime: &Utf8Path) -> Answer<()> {
    match runtime.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => check_private_directory(runtime).map_err(|error| words(&error)),
    }
}

async fn place(path: &Utf8Path) -> PlaceFacts {
    let directory = nearest(path);
    let on = directory.clone();
    let writable = blocking(move || {
        let made = nameless_file(&directory);
        made.map(drop).map_err(|error| words(&error))
    });
    let free = blocking(move || {
        let system = rustix::fs::statvfs(on.as_std_path());
        let system = system.map_err(|error| format!("{on} cannot be looked at: {error}"))?;
        Ok(system.f_bavail.saturating_mul(system.f_frsize))
    });
    let (writable, free) = tokio::join!(writable, free);
    PlaceFacts {
        path: path.to_owned(),
        writable,
        free,
    }
}

/// The directory itself, or the one in which it would be made.
fn nearest(path: &Utf8Path) -> Utf8PathBuf {
    let there = path.ancestors().find(|path| path.is_dir());
    there.unwrap_or_else(|| Utf8Path::new("/")).to_owned()
}

async fn tools() -> ToolFacts {
    let [first, second, third] = ContainerBuilder::ALL.map(builder);
    let builders = async { tokio::join!(first, second, third) };
    let (e2fsck, resize2fs, apt, builders) = tokio::join!(
        disk_tool("e2fsck", "-V", &[0]),
        // it has no question for its version: without a disk it says how it is used
        disk_tool("resize2fs", "-h", &[0, 1]),
        said("apt-get"),
        builders,
    );
    ToolFacts {
        e2fsck,
        resize2fs,
        apt,
        container_builders: [builders.0, builders.1, builders.2]
            .into_iter()
            .flatten()
            .collect(),
    }
}

/// Its name, if it is there.
async fn builder(builder: ContainerBuilder) -> Option<String> {
    let name = builder.as_str();
    said(name).await.map(|_| name.to_owned())
}

/// A program of e2fsprogs, found as those who use it find it.
async fn disk_tool(program: &str, question: &str, accepted: &[i32]) -> Option<Answer<String>> {
    let question = [question];
    match timeout(DEADLINE, e2fsprogs(program, &question, accepted)).await {
        Ok(ran) => found(ran.map(|_| program.to_owned())),
        Err(_) => Some(Err(format!("there was no answer within {DEADLINE:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directories::Directories;

    #[tokio::test]
    async fn looking_makes_nothing_and_finds_what_is_there() {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        let options = HostOptions {
            directories: Directories {
                state: root.join("a/state"),
                cache: root.join("cache"),
                runtime: root.join("run"),
            },
            guest_program: "/bin/sh".into(),
            vmm: VmmPrograms {
                qemu: Some("/nowhere/qemu".into()),
                ..VmmPrograms::default()
            },
        };
        let facts = Box::pin(Facts::gather(&options, SystemTime::UNIX_EPOCH)).await;
        assert_eq!(root.read_dir_utf8().unwrap().count(), 0);
        assert_eq!(facts.database, Ok(None));
        assert_eq!(facts.directories.state.writable, Ok(()));
        assert_eq!(facts.directories.runtime_is_private, Ok(()));
        assert!(facts.directories.reflinks.is_ok(), "{facts:?}");
        assert!(facts.qemu.unwrap().unwrap_err().contains("/nowhere/qemu"));
        assert_eq!(
            (facts.firecracker, facts.helper, facts.jail),
            (None, None, None)
        );
        assert!(facts.guest.generation.is_err());
        assert!(facts.tools.e2fsck.unwrap().is_ok());
        assert!(facts.tools.resize2fs.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_directory_of_others_and_one_too_long_are_told() {
        use std::os::unix::fs::PermissionsExt as _;

        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        let runtime = root.join("r".repeat(100));
        std::fs::create_dir(&runtime).unwrap();
        std::fs::set_permissions(&runtime, std::fs::Permissions::from_mode(0o755)).unwrap();
        let options = HostOptions {
            directories: Directories {
                state: root.join("state"),
                cache: root.join("cache"),
                runtime,
            },
            guest_program: "/nowhere".into(),
            vmm: VmmPrograms::default(),
        };
        let places = places(&options).await;
        let refused = places.runtime_is_private.unwrap_err();
        assert!(refused.contains("only the present user"), "{refused}");
        assert!(places.sockets.unwrap_err().contains("107"));
    }
}

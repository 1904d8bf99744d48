//! Who answers for names: `/etc/resolv.conf`.
//!
//! On an overlay the file takes the place of the image's own, which may be a
//! link to anywhere: a link is replaced, never followed. A plain root disk stays
//! as it is: the file lies in memory and is mounted over the disk's own, or over
//! what that leads to; one that is missing is made, empty. Failing is said, no
//! more.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    net::Ipv4Addr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rustix::mount::mount_bind;

use super::{boot_config::Config, stage::Cause};
use crate::console;

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// What lies in memory, for a root disk that is not to be changed.
const IN_MEMORY: &str = "/run/banger/resolv.conf";
/// What is in memory anyway.
const VOLATILE: &str = "/run";

/// Names the resolvers.
pub(super) fn apply(config: &Config, resolvers: &[Ipv4Addr]) {
    let content = content(resolvers);
    let outcome = if config.has_overlay() {
        replace(Path::new(RESOLV_CONF), &content)
    } else {
        cover(&content)
    };
    if let Err(error) = outcome {
        console::line(Cause::of("write", RESOLV_CONF)(error));
    }
}

fn content(resolvers: &[Ipv4Addr]) -> String {
    let line = |resolver: &Ipv4Addr| format!("nameserver {resolver}\n");
    resolvers.iter().map(line).collect()
}

/// Puts a new file in the place of whatever is there.
fn replace(path: &Path, content: &str) -> io::Result<()> {
    let new = path.with_extension("banger-new");
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    write_new(&new, content)?;
    fs::rename(new, path)
}

/// Makes a file where nothing is: what is there, a link too, is refused.
fn write_new(path: &Path, content: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)?;
    file.write_all(content.as_bytes())
}

fn cover(content: &str) -> io::Result<()> {
    if let Some(directory) = Path::new(IN_MEMORY).parent() {
        fs::create_dir_all(directory)?;
    }
    replace(Path::new(IN_MEMORY), content)?;
    let target = target(Path::new(RESOLV_CONF), Path::new(VOLATILE))?;
    Ok(mount_bind(IN_MEMORY, &target)?)
}

/// The file to mount over; made where it is missing.
fn target(path: &Path, volatile: &Path) -> io::Result<PathBuf> {
    let Ok(link) = fs::read_link(path) else {
        return match write_new(path, "") {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(path.to_owned()),
        };
    };
    let directory = path.parent().unwrap_or(Path::new("/"));
    let target = lexical(&directory.join(link));
    if !target.starts_with(volatile) {
        // what it leads to is the disk's, or nothing
        return fs::canonicalize(target);
    }
    if let Some(directory) = target.parent() {
        fs::create_dir_all(directory)?;
    }
    match write_new(&target, "") {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(target),
    }
}

/// A path without `.` and `..`, by its text alone.
fn lexical(path: &Path) -> PathBuf {
    use std::path::Component as C;
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            C::ParentDir => {
                plain.pop();
            }
            C::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const CONTENT: &str = "nameserver 10.0.2.3\nnameserver 1.1.1.1\n";

    #[test]
    fn each_resolver_has_a_line() {
        let resolvers = [Ipv4Addr::new(10, 0, 2, 3), Ipv4Addr::new(1, 1, 1, 1)];
        assert_eq!(content(&resolvers), CONTENT);
    }

    #[test]
    fn a_link_is_replaced_and_what_it_leads_to_stays() {
        let top = tempfile::tempdir().unwrap();
        let (path, other) = (top.path().join("etc/resolv.conf"), top.path().join("other"));
        replace(&path, CONTENT).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), CONTENT);
        fs::write(&other, "other").unwrap();
        fs::remove_file(&path).unwrap();
        symlink(&other, &path).unwrap();
        // left by a boot that was cut off, or planted
        symlink(&other, path.with_extension("banger-new")).unwrap();
        replace(&path, CONTENT).unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "other");
        assert_eq!(fs::read_to_string(&path).unwrap(), CONTENT);
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        assert_eq!(fs::read_dir(top.path().join("etc")).unwrap().count(), 1);
    }

    #[test]
    fn what_is_mounted_over_is_a_file_or_in_memory() {
        let top = tempfile::tempdir().unwrap();
        let (etc, run) = (top.path().join("etc"), top.path().join("run"));
        fs::create_dir(&etc).unwrap();
        let path = etc.join("resolv.conf");
        assert_eq!(target(&path, &run).unwrap(), path);
        assert_eq!(fs::read(&path).unwrap(), b"");
        fs::remove_file(&path).unwrap();
        symlink("../run/systemd/resolve/stub-resolv.conf", &path).unwrap();
        let in_memory = run.join("systemd/resolve/stub-resolv.conf");
        assert_eq!(target(&path, &run).unwrap(), in_memory);
        assert!(in_memory.exists());
        fs::remove_file(&path).unwrap();
        symlink("nowhere", &path).unwrap();
        let refused = target(&path, &run).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::NotFound);
    }
}

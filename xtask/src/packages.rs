//! The host packages that banger and its tests need (Debian and Ubuntu).

use std::{
    process::Command,
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use clap::ValueEnum;

use crate::{
    Result,
    paths::workspace,
    run::{capture, command, say, step},
};

/// How long another apt may keep its locks.
const LOCK_DEADLINE: Duration = Duration::from_mins(2);
/// How often a lock is looked at.
const LOCK_PAUSE: Duration = Duration::from_secs(2);

/// A set of packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Set {
    /// To run VMs and to make the quickstart's image
    Run,
    /// To run every test as well
    Test,
    /// To measure banger against other ways, besides all that
    Bench,
}

/// A package and what it is for.
struct Package {
    name: &'static str,
    purpose: &'static str,
    set: Set,
}

const fn package(name: &'static str, purpose: &'static str, set: Set) -> Package {
    Package { name, purpose, set }
}

const PACKAGES: [Package; 22] = [
    package("qemu-system-x86", "runs virtual machines", Set::Run),
    package(
        "slirp4netns",
        "is the user network of Firecracker's machines",
        Set::Run,
    ),
    package("mmdebstrap", "makes a Debian root file system", Set::Run),
    package("uidmap", "lets mmdebstrap work without root", Set::Run),
    package(
        "umoci",
        "makes OCI layouts, and unpacks layers for comparison",
        Set::Run,
    ),
    package("busybox-static", "is the whole of a small image", Set::Test),
    package(
        "skopeo",
        "pushes images to the registry of the tests",
        Set::Test,
    ),
    package("docker-registry", "is the registry of the tests", Set::Test),
    package(
        "openssl",
        "makes the certificates of the tests, and signs images",
        Set::Test,
    ),
    package("e2fsprogs", "checks every disk that is made", Set::Test),
    package("cpio", "reads initrds back", Set::Test),
    package("buildah", "builds Containerfiles", Set::Test),
    package(
        "zstd",
        "reads bundles, and compresses layers anew",
        Set::Test,
    ),
    package("minisign", "signs catalogs and bundles", Set::Test),
    package("acl", "sets access lists in images", Set::Bench),
    package("attr", "sets attributes in images", Set::Bench),
    package("libcap2-bin", "sets capabilities in images", Set::Bench),
    package("nodejs", "is what npm runs on", Set::Bench),
    package("npm", "fills images with modules of node", Set::Bench),
    package(
        "python3-pip",
        "downloads Firecracker, buf and gRPC for Python, and fills images with wheels",
        Set::Test,
    ),
    package("time", "measures children", Set::Bench),
    package(
        "openssh-client",
        "is what commands are compared with",
        Set::Bench,
    ),
];

/// Installs what is missing of a set.
pub(crate) fn install(set: Set) -> Result<()> {
    let missing: Vec<&Package> = PACKAGES
        .iter()
        .filter(|package| package.set <= set)
        .filter(|package| !is_installed(package.name) && !is_there_from_others(package.name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    for package in &missing {
        say(&format!(
            "needs package {}: {}",
            package.name, package.purpose
        ));
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    step("installing packages", || {
        with_package_lists(|| apt_get_install(&names)).map_err(|error| blame(&names, &error))
    })?;
    check_installed(&names)
}

/// Does what needs apt's package lists; once more with new lists when it
/// fails, since those of a fresh machine are missing or old.
pub(crate) fn with_package_lists<T>(work: impl Fn() -> Result<T>) -> Result<T> {
    work().or_else(|_| {
        update()?;
        work()
    })
}

/// Brings apt's package lists up to date, once.
fn update() -> Result<()> {
    static UPDATED: OnceLock<Result<()>> = OnceLock::new();
    let update = || {
        step("updating the package lists", || {
            unlocked(apt_get().args(["update", "--quiet=2"]))
        })
    };
    UPDATED.get_or_init(update).clone()
}

fn apt_get_install(names: &[&str]) -> Result<()> {
    let options = ["install", "--yes", "--quiet=2", "--no-install-recommends"];
    unlocked(apt_get().args(options).args(names))
}

/// Runs apt-get when no other apt holds the lock that it needs. (apt waits by
/// itself for dpkg's locks, not for that of the package lists.)
fn unlocked(apt_get: &mut Command) -> Result<()> {
    let started = Instant::now();
    loop {
        match capture(apt_get) {
            Err(error) if is_locked(&error) && started.elapsed() < LOCK_DEADLINE => {
                thread::sleep(LOCK_PAUSE);
            }
            outcome => return outcome.map(drop),
        }
    }
}

fn is_locked(error: &str) -> bool {
    error.contains("Could not get lock") || error.contains("Unable to lock")
}

/// Which of the packages it was that made an installation fail.
fn blame(names: &[&str], error: &str) -> String {
    let is_guilty = |name: &&&str| {
        let simulation = ["install", "--simulate", "--no-install-recommends", name];
        capture(command("apt-get", workspace()).args(simulation)).is_err()
    };
    let guilty: Vec<&str> = names.iter().filter(is_guilty).copied().collect();
    let suspects = if guilty.is_empty() { names } else { &guilty };
    format!(
        "package {} cannot be installed: {error}",
        suspects.join(", ")
    )
}

fn check_installed(names: &[&str]) -> Result<()> {
    match names.iter().find(|name| !is_installed(name)) {
        Some(name) => Err(format!("package {name} was not installed")),
        None => Ok(()),
    }
}

/// Whether a package is npm and another source's node brought one along, since
/// the two exclude each other; or pip, and another source's Python has one.
fn is_there_from_others(name: &str) -> bool {
    match name {
        "npm" => capture(command("npm", workspace()).arg("--version")).is_ok(),
        "python3-pip" => {
            let version = ["-m", "pip", "--version"];
            capture(command("python3", workspace()).args(version)).is_ok()
        }
        _ => false,
    }
}

fn is_installed(name: &str) -> bool {
    let mut query = command("dpkg-query", workspace());
    let status = capture(query.args(["--show", "--showformat=${db:Status-Status}", name]));
    status.is_ok_and(|status| status == "installed")
}

/// apt-get, through sudo unless the user is root already. It waits for another
/// apt, asks nothing, and starts no services: tests start their own.
fn apt_get() -> Command {
    let mut apt_get = if is_root() {
        command("env", workspace())
    } else {
        let mut sudo = command("sudo", workspace());
        sudo.args(["-n", "env"]);
        sudo
    };
    apt_get
        .args(["DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "apt-get"])
        .arg("-o")
        .arg(format!("DPkg::Lock::Timeout={}", LOCK_DEADLINE.as_secs()));
    apt_get
}

/// Whether the user is root.
pub(crate) fn is_root() -> bool {
    capture(command("id", workspace()).arg("-u")).is_ok_and(|id| id.trim() == "0")
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn work_is_not_repeated_when_it_went_well() {
        let calls = std::cell::Cell::new(0);
        let work = || {
            calls.set(calls.get() + 1);
            Ok(calls.get())
        };
        assert_eq!(with_package_lists(work), Ok(1));
    }

    #[test]
    fn locks_of_another_apt_are_told_from_other_failures() {
        assert!(is_locked(
            "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 1 (apt-get)"
        ));
        assert!(!is_locked("E: Unable to locate package nothing"));
    }
}

//! The host packages that banger and its tests need (Debian and Ubuntu).

use clap::ValueEnum;

use crate::{
    Result,
    paths::workspace,
    run::{capture, command, run, say},
};

/// A set of packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Set {
    /// To run VMs and to make the quickstart's image
    Run,
    /// To run every test as well
    Test,
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

const PACKAGES: [Package; 9] = [
    package("qemu-system-x86", "runs virtual machines", Set::Run),
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
    package("e2fsprogs", "checks every disk that is made", Set::Test),
    package("cpio", "reads initrds back", Set::Test),
];

/// Installs what is missing of a set.
pub(crate) fn install(set: Set) -> Result<()> {
    let wanted = PACKAGES
        .iter()
        .filter(|package| set == Set::Test || package.set == Set::Run);
    let missing: Vec<&Package> = wanted
        .filter(|package| !is_installed(package.name))
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
    // package lists of a fresh machine may be missing or old
    run(apt_get().arg("update").arg("--quiet=2"))?;
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    let installed = run(apt_get()
        .args(["install", "--yes", "--quiet=2", "--no-install-recommends"])
        .args(&names));
    installed
        .map_err(|error| format!("package {} cannot be installed: {error}", names.join(", ")))?;
    check_installed(&names)
}

fn check_installed(names: &[&str]) -> Result<()> {
    match names.iter().find(|name| !is_installed(name)) {
        Some(name) => Err(format!("package {name} was not installed")),
        None => Ok(()),
    }
}

fn is_installed(name: &str) -> bool {
    let mut query = command("dpkg-query", workspace());
    let status = capture(query.args(["--show", "--showformat=${db:Status-Status}", name]));
    status.is_ok_and(|status| status == "installed")
}

/// apt-get, through sudo unless the user is root already. It waits for another
/// apt, asks nothing, and starts no services: tests start their own.
fn apt_get() -> std::process::Command {
    let mut apt_get = if is_root() {
        command("env", workspace())
    } else {
        let mut sudo = command("sudo", workspace());
        sudo.args(["-n", "env"]);
        sudo
    };
    apt_get.args([
        "DEBIAN_FRONTEND=noninteractive",
        "RUNLEVEL=1",
        "apt-get",
        "-o",
        "DPkg::Lock::Timeout=300",
    ]);
    apt_get
}

/// Whether the user is root.
pub(crate) fn is_root() -> bool {
    capture(command("id", workspace()).arg("-u")).is_ok_and(|id| id.trim() == "0")
}

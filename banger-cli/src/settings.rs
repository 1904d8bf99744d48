//! What holds for one run of the program.
//!
//! Purpose: flag > variable > configuration > default, in one place.
//! Invariants: [`resolve`] is a function of its inputs (whether a file exists
//! is one of them); every path it answers is absolute.
//! Entry points: [`resolve`], [`config_file`], [`Settings`].

use banger_core::{
    catalog::SupplyOptions, directories::Directories, oci::RegistryOptions, rootfs::RootfsLimits,
    vmm::JailOptions,
};
use camino::{Utf8Path, Utf8PathBuf};

use crate::{args::GlobalArgs, config::Config, environment::Environment, registries};

/// Name of the guest program's file.
const GUEST_PROGRAM: &str = "banger-guest";

/// Name of Firecracker's program.
const FIRECRACKER: &str = "firecracker";
/// Name of what jails it.
const JAILER: &str = "jailer";
/// What carries a user network of Firecracker's.
const SLIRP4NETNS: &str = "slirp4netns";

/// Where the guest program may lie, relative to the directory of `banger`.
/// Beside it comes last: cargo leaves a program of the same name there, which
/// is not static and so cannot be a machine's init.
const GUEST_PROGRAM_PLACES: [&str; 3] = ["../lib/banger", "lib/banger", ""];

/// What holds for one run of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// banger's roots.
    pub directories: Directories,
    /// The guest program.
    pub guest_program: GuestProgram,
    /// The QEMU system emulator, when there is one.
    pub qemu: Option<Utf8PathBuf>,
    /// Firecracker, when there is one.
    pub firecracker: Option<Utf8PathBuf>,
    /// slirp4netns; none when it is not on `PATH`.
    pub slirp4netns: Option<Utf8PathBuf>,
    /// How Firecracker is jailed: by the jailer beside it.
    pub jail: JailOptions,
    /// How registries are reached.
    pub registries: RegistryOptions,
    /// Bounds on what images' layers may claim.
    pub limits: RootfsLimits,
    /// Catalogs and the policy.
    pub supply: SupplyOptions,
    /// The policy's file, which is still to be read.
    pub policy: Option<Utf8PathBuf>,
    /// This program, which is also the monitor.
    pub executable: Utf8PathBuf,
}

/// The guest program's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestProgram {
    /// Given, or seen to exist.
    Found(Utf8PathBuf),
    /// In none of the places where it may lie; there is at least one.
    Missing {
        /// The places.
        places: Vec<Utf8PathBuf>,
    },
}

impl GuestProgram {
    /// The file, or the first place where it may lie.
    #[must_use]
    pub fn path(&self) -> Utf8PathBuf {
        match self {
            Self::Found(path) => path.clone(),
            Self::Missing { places } => places.first().cloned().unwrap_or_default(),
        }
    }
}

/// Settings cannot be resolved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A catalog's configuration is wrong.
    #[error("{problem}")]
    Catalog {
        /// What is wrong.
        problem: String,
    },
    /// There is no home directory to keep things in.
    #[error("there is no home directory and {flag} was not given")]
    NoHome {
        /// The flag that would help.
        flag: &'static str,
    },
}

/// Which configuration file to read, and whether the user named it.
#[must_use]
pub fn config_file(flags: &GlobalArgs, environment: &Environment) -> Option<(Utf8PathBuf, bool)> {
    let named = flags.config.as_ref().or(environment.config.as_ref());
    let base = environment.base.as_ref();
    named
        .map(|path| (environment.absolute(path), true))
        .or_else(|| base.map(|base| (base.config.join("banger/config.toml"), false)))
}

/// Resolves the settings; `is_file` says whether a path is an existing file.
pub fn resolve(
    flags: &GlobalArgs,
    environment: &Environment,
    config: &Config,
    is_file: &dyn Fn(&Utf8Path) -> bool,
) -> Result<Settings, SettingsError> {
    let first = |flag: &Option<Utf8PathBuf>,
                 variable: &Option<Utf8PathBuf>,
                 configured: &Option<Utf8PathBuf>| {
        let path = flag.as_ref().or(variable.as_ref()).or(configured.as_ref());
        path.map(|path| environment.absolute(path))
    };
    let state = first(&flags.state_dir, &environment.state_dir, &config.state_dir);
    let cache = first(&flags.cache_dir, &environment.cache_dir, &config.cache_dir);
    let runtime = first(
        &flags.runtime_dir,
        &environment.runtime_dir,
        &config.runtime_dir,
    );
    let guest = first(
        &flags.guest_program,
        &environment.guest_program,
        &config.guest_program,
    );
    let qemu = first(&flags.qemu, &environment.qemu, &config.qemu);
    let firecracker = first(
        &flags.firecracker,
        &environment.firecracker,
        &config.firecracker,
    );
    let find = |name: &str| find_program(name, &environment.path, is_file);
    let firecracker = firecracker.or_else(|| find(FIRECRACKER));
    let jailer = firecracker.as_ref().map(|path| path.with_file_name(JAILER));
    Ok(Settings {
        directories: Directories {
            state: state.map_or_else(|| default_state(environment), Ok)?,
            cache: cache.map_or_else(|| default_cache(environment), Ok)?,
            runtime: runtime.unwrap_or_else(|| default_runtime(environment)),
        },
        guest_program: guest.map_or_else(
            || find_guest_program(&environment.executable, is_file),
            GuestProgram::Found,
        ),
        qemu: qemu.or_else(|| find(&qemu_program())),
        firecracker,
        slirp4netns: find(SLIRP4NETNS),
        jail: config.jail.options(jailer.filter(|path| is_file(path))),
        registries: registries::options(environment, &config.registries),
        limits: config.limits.limits(),
        supply: SupplyOptions {
            catalogs: config
                .catalog_options()
                .map_err(|problem| SettingsError::Catalog { problem })?,
            ..SupplyOptions::default()
        },
        policy: config.policy.clone(),
        executable: environment.executable.clone(),
    })
}

fn default_state(environment: &Environment) -> Result<Utf8PathBuf, SettingsError> {
    let base = environment.base.as_ref();
    let path = base.map(|base| base.state.join("banger"));
    path.ok_or(SettingsError::NoHome {
        flag: "--state-dir",
    })
}

fn default_cache(environment: &Environment) -> Result<Utf8PathBuf, SettingsError> {
    let base = environment.base.as_ref();
    let path = base.map(|base| base.cache.join("banger"));
    path.ok_or(SettingsError::NoHome {
        flag: "--cache-dir",
    })
}

/// Without a session's runtime directory: short, and one per user.
fn default_runtime(environment: &Environment) -> Utf8PathBuf {
    let session = environment.xdg_runtime.as_ref();
    session.map_or_else(
        || format!("/tmp/banger-{}", environment.user_id).into(),
        |session| session.join("banger"),
    )
}

fn find_guest_program(executable: &Utf8Path, is_file: &dyn Fn(&Utf8Path) -> bool) -> GuestProgram {
    let beside = executable.parent().unwrap_or_else(|| Utf8Path::new("/"));
    let places = GUEST_PROGRAM_PLACES.map(|place| beside.join(place).join(GUEST_PROGRAM));
    let found = places.iter().find(|place| is_file(place));
    found.cloned().map_or_else(
        || GuestProgram::Missing {
            places: places.to_vec(),
        },
        GuestProgram::Found,
    )
}

/// QEMU's program for guests of the host's own architecture.
fn qemu_program() -> String {
    format!("qemu-system-{}", std::env::consts::ARCH)
}

fn find_program(
    name: &str,
    path: &[Utf8PathBuf],
    is_file: &dyn Fn(&Utf8Path) -> bool,
) -> Option<Utf8PathBuf> {
    let absolute = path.iter().filter(|directory| directory.is_absolute());
    absolute
        .map(|directory| directory.join(name))
        .find(|program| is_file(program))
}

#[cfg(test)]
mod tests;

//! The boot initrd that banger makes.
//!
//! Purpose: an archive with the guest program as `/init`, the device nodes it
//! starts with, and the kernel modules it needs to reach the root disk.
//! Invariants: the same files give the same bytes; modules are uncompressed
//! and come in an order in which each can be loaded; archives are padded so
//! that one may follow another.
//! Entry points: [`build`], [`boot_config_archive`].

mod closure;
mod cpio;
mod error;
mod modinfo;
mod tree;

use std::{fs::File, io::Read as _};

use camino::Utf8Path;

use crate::host_fs::{IoContext as _, PathError};
use closure::Module;
use cpio::CpioWriter;

pub use error::InitrdError;

/// Most bytes the guest program may have.
const GUEST_PROGRAM_LIMIT: u64 = 256 << 20;
/// Where modules lie in the archive; their names are unique.
const MODULES: &str = "lib/modules";

/// What an initrd is to hold.
#[derive(Clone, Copy, Debug)]
pub struct InitrdRequest<'a> {
    /// The static program that becomes `/init`.
    pub guest_program: &'a Utf8Path,
    /// A directory laid out as `/lib/modules/<release>`; none when the kernel
    /// has everything built in.
    pub modules: Option<&'a Utf8Path>,
    /// Names of the modules the guest needs. Those built into the kernel are
    /// left out; the others come with all they depend on.
    pub wanted: &'a [&'a str],
    /// Names of modules that are taken where the tree has them.
    pub wished: &'a [&'a str],
}

/// A finished initrd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initrd {
    /// An uncompressed `newc` archive, padded to 512 bytes.
    pub archive: Vec<u8>,
    /// Absolute paths in the archive, in the order to load them.
    pub module_paths: Vec<String>,
}

/// Builds an initrd. Holds up its thread: it reads the module tree.
pub fn build(request: &InitrdRequest<'_>) -> Result<Initrd, InitrdError> {
    let program = read_guest_program(request.guest_program).map_err(InitrdError::GuestProgram)?;
    let modules = match request.modules {
        Some(tree) => closure::load(
            &tree::ModuleTree::read(tree)?,
            request.wanted,
            request.wished,
        )?,
        None => Vec::new(),
    };
    Ok(Initrd {
        archive: archive(&program, &modules),
        module_paths: modules
            .iter()
            .map(|module| format!("/{}", path_of(module)))
            .collect(),
    })
}

/// A second archive, to follow [`Initrd::archive`], that holds the encoded
/// boot configuration as `/banger/boot.pb`.
#[must_use]
pub fn boot_config_archive(boot_config: &[u8]) -> Vec<u8> {
    let mut archive = CpioWriter::new();
    archive.directory("banger", 0o755);
    archive.file("banger/boot.pb", 0o600, boot_config);
    archive.finish()
}

fn archive(program: &[u8], modules: &[Module]) -> Vec<u8> {
    let mut archive = CpioWriter::new();
    for directory in ["dev", "proc", "sys", "newroot", "banger", "lib", MODULES] {
        archive.directory(directory, 0o755);
    }
    // Linux Documentation/admin-guide/devices.txt
    archive.character_device("dev/console", 0o600, (5, 1));
    archive.character_device("dev/null", 0o666, (1, 3));
    archive.file("init", 0o755, program);
    for module in modules {
        archive.file(&path_of(module), 0o644, &module.content);
    }
    archive.finish()
}

fn path_of(module: &Module) -> String {
    format!("{MODULES}/{}.ko", module.name)
}

fn read_guest_program(path: &Utf8Path) -> Result<Vec<u8>, PathError> {
    let file = File::open(path).at("open", path)?;
    let mut program = Vec::new();
    file.take(GUEST_PROGRAM_LIMIT + 1)
        .read_to_end(&mut program)
        .at("read", path)?;
    if GUEST_PROGRAM_LIMIT < program.len() as u64 {
        let refusal = std::io::Error::from(std::io::ErrorKind::FileTooLarge);
        return Err(PathError::new("read", path, refusal));
    }
    Ok(program)
}

#[cfg(test)]
mod tests;

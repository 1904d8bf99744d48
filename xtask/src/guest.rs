//! Building the static program that runs inside guests.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::{
    Result,
    paths::{failed_at, guest_program, target},
    run::{run, step},
    tests::cargo,
};

/// The guest program shall fit a small initrd.
const MAX_BYTES: usize = 3 << 20;

/// Builds the guest program and puts it where `banger` looks for it.
pub(crate) fn build() -> Result<PathBuf> {
    let built = step("building the guest program", compile)?;
    check(&built)?;
    let published = guest_program();
    install(&built, &published)?;
    Ok(published)
}

fn compile() -> Result<PathBuf> {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let what = ["build", "--package", "banger-guest"];
    run(cargo()
        .args(what)
        .args(["--profile", "guest", "--target", &triple])
        // glibc links statically for this one program, never for build scripts
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env_remove("CARGO_ENCODED_RUSTFLAGS"))?;
    Ok(target().join(&triple).join("guest/banger-guest"))
}

/// Replaces the published program in one step: a VM may be starting from it.
fn install(built: &Path, published: &Path) -> Result<()> {
    let content = fs::read(built).map_err(failed_at(built))?;
    if fs::read(published).is_ok_and(|current| current == content) {
        return Ok(());
    }
    if let Some(directory) = published.parent() {
        fs::create_dir_all(directory).map_err(failed_at(directory))?;
    }
    let staging = published.with_extension("staging");
    fs::write(&staging, content).map_err(failed_at(&staging))?;
    fs::set_permissions(&staging, Permissions::from_mode(0o755)).map_err(failed_at(&staging))?;
    fs::rename(&staging, published).map_err(failed_at(published))
}

/// The guest has no dynamic loader, and every byte is loaded at each boot.
fn check(program: &Path) -> Result<()> {
    let content = fs::read(program).map_err(failed_at(program))?;
    if MAX_BYTES < content.len() {
        let length = content.len();
        return Err(format!(
            "the guest program has {length} bytes, more than {MAX_BYTES}"
        ));
    }
    match linkage(&content) {
        Some(Linkage::Static) => Ok(()),
        Some(Linkage::Dynamic) => {
            Err("the guest program is not static: it names a dynamic loader".to_owned())
        }
        None => Err("the guest program is no 64-bit ELF file".to_owned()),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Linkage {
    Static,
    Dynamic,
}

/// How a program is linked: a dynamic one has a program header of type
/// PT_INTERP (elf(5)). None when it is no little-endian ELF64 file.
fn linkage(elf: &[u8]) -> Option<Linkage> {
    const HEADER: &[u8] = b"\x7fELF\x02\x01";
    const PT_INTERP: usize = 3;
    let number = |offset: usize, length: usize| {
        let bytes = elf.get(offset..offset.checked_add(length)?)?;
        let add = |value: usize, byte: &u8| value << 8 | usize::from(*byte);
        Some(bytes.iter().rev().fold(0, add))
    };
    if !elf.starts_with(HEADER) {
        return None;
    }
    let (table, size, count) = (number(0x20, 8)?, number(0x36, 2)?, number(0x38, 2)?);
    for index in 0..count {
        if number(table.checked_add(index * size)?, 4)? == PT_INTERP {
            return Some(Linkage::Dynamic);
        }
    }
    Some(Linkage::Static)
}

#[cfg(test)]
mod checks {
    use super::*;

    /// An ELF64 header, and one program header of a type.
    fn elf(kind: u8) -> Vec<u8> {
        let mut elf = vec![0; 0x40 + 0x38];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[0x20] = 0x40;
        elf[0x36] = 0x38;
        elf[0x38] = 1;
        elf[0x40] = kind;
        elf
    }

    #[test]
    fn static_and_dynamic_programs_are_told_apart() {
        let this = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(linkage(&this), Some(Linkage::Dynamic));
        assert_eq!(linkage(&elf(3)), Some(Linkage::Dynamic));
        assert_eq!(linkage(&elf(1)), Some(Linkage::Static));
    }

    #[test]
    fn what_is_no_whole_program_is_not_taken_for_static() {
        assert_eq!(linkage(b"\x7fELF"), None);
        assert_eq!(linkage(b"#!/bin/sh\n"), None);
        assert_eq!(linkage(&elf(1)[..0x40]), None);
    }
}

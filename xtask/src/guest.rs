//! Building the static program that runs inside guests.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    Result,
    paths::{environment, guest_program, target, workspace},
    run::{command, run, say},
};

/// The guest program shall fit a small initrd.
const MAX_BYTES: u64 = 3 << 20;

/// Builds the guest program and puts it where `banger` looks for it.
pub(crate) fn build() -> Result<PathBuf> {
    say("building the guest program");
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let cargo = environment("CARGO").unwrap_or_else(|| "cargo".to_owned());
    run(command(cargo, workspace())
        .args([
            "build",
            "--package",
            "banger-guest",
            "--profile",
            "guest",
            "--target",
            &triple,
        ])
        // glibc links statically for this one program, never for build scripts
        .env("RUSTFLAGS", "-C target-feature=+crt-static"))?;
    let built = target().join(&triple).join("guest/banger-guest");
    check(&built)?;
    let published = guest_program();
    install(&built, &published)?;
    Ok(published)
}

/// Replaces the published program in one step: a VM may be starting from it.
fn install(built: &Path, published: &Path) -> Result<()> {
    let failed = |error: std::io::Error| format!("{}: {error}", published.display());
    let content = fs::read(built).map_err(failed)?;
    if fs::read(published).is_ok_and(|current| current == content) {
        return Ok(());
    }
    if let Some(directory) = published.parent() {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    let staging = published.with_extension("staging");
    fs::write(&staging, content).map_err(failed)?;
    fs::set_permissions(
        &staging,
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .map_err(failed)?;
    fs::rename(&staging, published).map_err(failed)
}

/// The guest has no dynamic loader, and every byte is loaded at each boot.
fn check(program: &Path) -> Result<()> {
    let content = fs::read(program).map_err(|error| format!("{}: {error}", program.display()))?;
    if MAX_BYTES < content.len() as u64 {
        return Err(format!(
            "the guest program has {} bytes, more than {MAX_BYTES}",
            content.len()
        ));
    }
    if has_interpreter(&content) {
        return Err("the guest program is not static: it names a dynamic loader".to_owned());
    }
    Ok(())
}

/// Whether an ELF64 file has a program header of type PT_INTERP (elf(5)).
fn has_interpreter(elf: &[u8]) -> bool {
    let number = |offset: usize, length: usize| {
        let bytes = elf.get(offset..offset + length).unwrap_or_default();
        bytes
            .iter()
            .rev()
            .fold(0, |value: usize, byte| value << 8 | usize::from(*byte))
    };
    let (table, size, count) = (number(0x20, 8), number(0x36, 2), number(0x38, 2));
    (0..count).any(|index| number(table + index * size, 4) == 3)
}

#[cfg(test)]
mod checks {
    use super::has_interpreter;

    #[test]
    fn a_dynamic_program_is_told_from_data() {
        let this = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(has_interpreter(&this));
        assert!(!has_interpreter(b"\x7fELF"));
    }
}

//! What a boot needs on the host, and what can be missing of it.
//!
//! Purpose: a file that is not there, and memory that cannot hold what is put
//! into it, are refused by name before a machine is started. Entry points:
//! [`check`], [`PrepareBootError`].

use std::{fs::File, os::unix::fs::FileExt as _};

use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    domain::Bytes,
    error::ErrorKind,
    host_fs::{IoContext as _, PathError},
    image::ImageQueryError,
    initrd::InitrdError,
    vm::ExecError,
};

/// What the boot of a VM needs is not there or could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareBootError {
    /// The image's record could not be read.
    #[error(transparent)]
    Image(#[from] ImageQueryError),
    /// The image's kernel is gone.
    #[error("the image's kernel {path} does not exist")]
    KernelMissing {
        /// Where it should be.
        path: Utf8PathBuf,
    },
    /// The image's disk is gone.
    #[error("the image's disk {path} does not exist")]
    RootDiskMissing {
        /// Where it should be.
        path: Utf8PathBuf,
    },
    /// A volume's disk is gone.
    #[error("the volume's disk {path} does not exist")]
    VolumeMissing {
        /// Where it should be.
        path: Utf8PathBuf,
    },
    /// The program that becomes the guest's init is not there.
    #[error("the guest program {path} does not exist")]
    GuestProgramMissing {
        /// Where it should be.
        path: Utf8PathBuf,
    },
    /// Kernel and initrd alone need more memory than the VM has.
    #[error("its memory of {memory} is too little: kernel and initrd alone take {needed}")]
    TooLittleMemory {
        /// What it has.
        memory: Bytes,
        /// What both take.
        needed: Bytes,
    },
    /// What the machine exists for cannot be run.
    #[error("its command cannot be run")]
    Command(#[source] Box<ExecError>),
    /// The initrd could not be made.
    #[error("the initrd cannot be made")]
    Initrd(#[source] InitrdError),
    /// A host file failed.
    #[error("a file of the boot cannot be read or written")]
    Io(#[from] PathError),
}

impl PrepareBootError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Image(error) => error.kind(),
            Self::KernelMissing { .. }
            | Self::RootDiskMissing { .. }
            | Self::VolumeMissing { .. } => ErrorKind::NotFound,
            Self::GuestProgramMissing { .. } => ErrorKind::Unsupported,
            Self::TooLittleMemory { .. } => ErrorKind::ResourceExhausted,
            Self::Command(error) => error.kind(),
            Self::Initrd(error) => error.kind(),
            Self::Io(error) => error.kind(),
        }
    }
}

/// Refuses a kernel that is not there, and an image's disk that is needed and
/// is not.
pub(super) fn check_artifacts(
    kernel: &Utf8Path,
    rootfs: Option<&Utf8PathBuf>,
) -> Result<(), PrepareBootError> {
    if !exists(kernel)? {
        return Err(PrepareBootError::KernelMissing {
            path: kernel.to_owned(),
        });
    }
    match rootfs {
        Some(rootfs) if !exists(rootfs)? => Err(PrepareBootError::RootDiskMissing {
            path: rootfs.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Refuses a guest program that is not there.
pub(super) fn check_guest_program(program: &Utf8Path) -> Result<(), PrepareBootError> {
    if exists(program)? {
        return Ok(());
    }
    Err(PrepareBootError::GuestProgramMissing {
        path: program.to_owned(),
    })
}

/// Refuses memory that cannot hold the kernel where it wants to lie and the
/// initrd beside it.
pub(super) fn check_memory(
    memory: Bytes,
    kernel: &Utf8Path,
    initrd: u64,
) -> Result<(), PrepareBootError> {
    let end = kernel_end(kernel)?;
    let needed = end.saturating_add(initrd);
    if needed <= memory.get() {
        return Ok(());
    }
    Err(PrepareBootError::TooLittleMemory {
        memory,
        needed: Bytes::new(needed).round_up_to(Bytes::MIB),
    })
}

fn exists(path: &Utf8Path) -> Result<bool, PathError> {
    path.try_exists().at("inspect", path)
}

/// Bytes of an ELF64 header, of a program header, and most program headers that
/// are looked at (elf(5)).
const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const MOST_HEADERS: u64 = 64;
/// A segment that is loaded.
const LOADED: u32 = 1;

/// Where in memory a kernel ends; 0 for one that is not an ELF file of 64 bits
/// and little endian, whose own loader knows better.
fn kernel_end(kernel: &Utf8Path) -> Result<u64, PathError> {
    let file = File::open(kernel).at("open", kernel)?;
    let mut header = [0; HEADER];
    if file.read_exact_at(&mut header, 0).is_err() || !header.starts_with(b"\x7fELF\x02\x01") {
        return Ok(0);
    }
    let (table, count) = (u64_at(&header, 32), u64::from(u16_at(&header, 56)));
    let mut end = 0;
    for index in 0..count.min(MOST_HEADERS) {
        let mut segment = [0; PROGRAM_HEADER];
        let place = table.saturating_add(index * PROGRAM_HEADER as u64);
        if file.read_exact_at(&mut segment, place).is_err() {
            break;
        }
        if u32_at(&segment, 0) == LOADED {
            end = end.max(u64_at(&segment, 24).saturating_add(u64_at(&segment, 40)));
        }
    }
    Ok(end)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes[at..]
        .first_chunk()
        .copied()
        .map_or(0, u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..]
        .first_chunk()
        .copied()
        .map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..]
        .first_chunk()
        .copied()
        .map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF header with two loaded segments and one that is not, 16 MiB up.
    fn kernel() -> Vec<u8> {
        let mut elf = vec![0; HEADER + 3 * PROGRAM_HEADER];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[32..40].copy_from_slice(&(HEADER as u64).to_le_bytes());
        elf[56..58].copy_from_slice(&3_u16.to_le_bytes());
        for (index, (kind, start, size)) in [(LOADED, 16_u64, 8_u64), (4, 900, 9), (LOADED, 24, 6)]
            .into_iter()
            .enumerate()
        {
            let segment = &mut elf[HEADER + index * PROGRAM_HEADER..];
            segment[..4].copy_from_slice(&kind.to_le_bytes());
            segment[24..32].copy_from_slice(&(start << 20).to_le_bytes());
            segment[40..48].copy_from_slice(&(size << 20).to_le_bytes());
        }
        elf
    }

    #[test]
    fn memory_must_hold_kernel_and_initrd() {
        let scratch = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(scratch.path()).unwrap().join("vmlinux");
        std::fs::write(&path, kernel()).unwrap();
        let check = |mib, initrd: u64| check_memory(Bytes::from_mib(mib), &path, initrd << 20);
        check(40, 10).unwrap();
        match check(39, 10).unwrap_err() {
            PrepareBootError::TooLittleMemory { needed, .. } => {
                assert_eq!(needed, Bytes::from_mib(40));
            }
            other => panic!("{other:?}"),
        }
        std::fs::write(&path, "no ELF file").unwrap();
        check(1, 0).unwrap();
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = &Utf8PathBuf::from("/nowhere/file");
        let there = Utf8Path::new("/dev/null");
        let kernel = check_artifacts(missing, None).unwrap_err();
        assert!(matches!(kernel, PrepareBootError::KernelMissing { .. }));
        let disk = check_artifacts(there, Some(missing)).unwrap_err();
        assert!(matches!(disk, PrepareBootError::RootDiskMissing { .. }));
        let program = check_guest_program(missing).unwrap_err();
        assert_eq!(program.kind(), ErrorKind::Unsupported);
        check_artifacts(there, None).unwrap();
    }
}

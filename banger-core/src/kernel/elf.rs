//! The little of ELF that kernels and their modules need (elf(5)).
//!
//! Purpose: tell a kernel's architecture and find a module's `.modinfo`.
//! Invariants: only 64-bit little-endian files are read; every offset is
//! checked against the file before it is used.
//! Entry points: [`architecture`], [`section`].

use super::read_at::{le_u16, le_u32, le_u64};

/// Length of a 64-bit ELF header.
pub(crate) const HEADER_LENGTH: usize = 64;

const MAGIC: &[u8] = b"\x7fELF";
/// `EI_CLASS`: `ELFCLASS64`.
const CLASS_64: u8 = 2;
/// `EI_DATA`: `ELFDATA2LSB`.
const LITTLE_ENDIAN: u8 = 1;
/// `EM_X86_64`.
const MACHINE_X86_64: u16 = 62;
/// `EM_AARCH64`.
const MACHINE_AARCH64: u16 = 183;
const SECTION_HEADER_LENGTH: usize = 64;

/// Whether a file that starts with these bytes is an ELF file.
pub(crate) fn is_elf(start: &[u8]) -> bool {
    start.starts_with(MAGIC)
}

/// The architecture, as `uname -m` says it, of the kernel that starts with
/// these bytes; else what is wrong with it.
pub(crate) fn architecture(header: &[u8]) -> Result<&'static str, String> {
    if header.len() < HEADER_LENGTH || !is_elf(header) {
        return Err("it is not an ELF file".to_owned());
    }
    if !is_64_bit_little_endian(header) {
        return Err("it is not a 64-bit little-endian ELF file".to_owned());
    }
    match le_u16(header, 18) {
        Some(MACHINE_X86_64) => Ok("x86_64"),
        Some(MACHINE_AARCH64) => Ok("aarch64"),
        machine => Err(format!(
            "it is for an unknown machine (ELF machine {})",
            machine.unwrap_or_default()
        )),
    }
}

fn is_64_bit_little_endian(header: &[u8]) -> bool {
    header.get(4) == Some(&CLASS_64) && header.get(5) == Some(&LITTLE_ENDIAN)
}

/// The content of the first section called `name`; none when the file is not
/// a readable 64-bit ELF file or has no such section.
pub(crate) fn section<'a>(file: &'a [u8], name: &str) -> Option<&'a [u8]> {
    if !is_elf(file) || !is_64_bit_little_endian(file) {
        return None;
    }
    let names_index = usize::from(le_u16(file, 0x3e)?);
    let names = content(file, section_header(file, names_index)?)?;
    let count = usize::from(le_u16(file, 0x3c)?);
    let mut headers = (0..count).map_while(|index| section_header(file, index));
    let found = headers.find(|header| is_named(header, names, name))?;
    content(file, found)
}

fn section_header(file: &[u8], index: usize) -> Option<&[u8]> {
    if usize::from(le_u16(file, 0x3a)?) != SECTION_HEADER_LENGTH {
        return None;
    }
    let table = usize::try_from(le_u64(file, 0x28)?).ok()?;
    let start = table.checked_add(index.checked_mul(SECTION_HEADER_LENGTH)?)?;
    file.get(start..start.checked_add(SECTION_HEADER_LENGTH)?)
}

fn is_named(header: &[u8], names: &[u8], name: &str) -> bool {
    le_u32(header, 0)
        .and_then(|offset| usize::try_from(offset).ok())
        .and_then(|offset| names.get(offset..))
        .and_then(|rest| rest.strip_prefix(name.as_bytes()))
        .is_some_and(|rest| rest.first() == Some(&0))
}

fn content<'a>(file: &'a [u8], header: &[u8]) -> Option<&'a [u8]> {
    let offset = usize::try_from(le_u64(header, 0x18)?).ok()?;
    let size = usize::try_from(le_u64(header, 0x20)?).ok()?;
    file.get(offset..offset.checked_add(size)?)
}

/// ELF files made for tests.
#[cfg(test)]
pub(crate) mod fixture {
    /// A 64-bit ELF header for x86-64 with nothing behind it.
    pub(crate) fn header() -> Vec<u8> {
        let mut header = vec![0; super::HEADER_LENGTH];
        header[..6].copy_from_slice(b"\x7fELF\x02\x01");
        header[18] = 62;
        header
    }

    /// A file with one section `.modinfo` of this content.
    pub(crate) fn with_modinfo(modinfo: &[u8]) -> Vec<u8> {
        let names = b"\0.modinfo\0.shstrtab\0";
        let mut file = header();
        file.extend(names);
        let modinfo_offset = file.len();
        file.extend(modinfo);
        let table = file.len();
        file.extend([0; 64]);
        file.extend(section_header(1, modinfo_offset, modinfo.len()));
        file.extend(section_header(10, super::HEADER_LENGTH, names.len()));
        file[0x28..0x30].copy_from_slice(&(table as u64).to_le_bytes());
        file[0x3a] = 64;
        file[0x3c] = 3;
        file[0x3e] = 2;
        file
    }

    fn section_header(name: u8, offset: usize, size: usize) -> Vec<u8> {
        let mut header = vec![0; 64];
        header[0] = name;
        header[0x18..0x20].copy_from_slice(&(offset as u64).to_le_bytes());
        header[0x20..0x28].copy_from_slice(&(size as u64).to_le_bytes());
        header
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn machines_are_told_apart_and_other_files_refused() {
        let mut header = fixture::header();
        assert_eq!(architecture(&header), Ok("x86_64"));
        header[18] = 183;
        assert_eq!(architecture(&header), Ok("aarch64"));
        header[18] = 8;
        assert!(architecture(&header).unwrap_err().contains("machine 8"));
        header[4] = 1;
        assert!(architecture(&header).unwrap_err().contains("64-bit"));
        assert!(architecture(&header[..63]).is_err());
        assert!(architecture(&[0; 64]).is_err());
    }

    #[test]
    fn a_section_is_found_by_its_whole_name() {
        let file = fixture::with_modinfo(b"depends=a\0");
        assert_eq!(section(&file, ".modinfo"), Some(&b"depends=a\0"[..]));
        assert_eq!(section(&file, ".modin"), None);
        assert_eq!(section(&file[..file.len() - 1], ".modinfo"), None);
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic(position in 0_usize..400, value: u8) {
            let mut file = fixture::with_modinfo(b"depends=a\0");
            let position = position % file.len();
            file[position] = value;
            section(&file, ".modinfo");
            drop(architecture(&file));
        }
    }
}

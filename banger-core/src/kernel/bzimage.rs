//! The x86 boot image: a setup part with a header, then the kernel, packed
//! (Linux `Documentation/arch/x86/boot.rst`, "The Real-Mode Kernel Header").
//!
//! Purpose: where the packed kernel lies in a `bzImage`, and its release.
//! Invariants: nothing is read here; offsets are checked against the setup
//! part, the payload's against the file by [`parse`]'s caller-given length.
//! Entry points: [`parse`].

use std::ops::Range;

use super::{
    read_at::{le_u16, le_u32},
    release::leading_release,
};

/// Longest setup part: 255 sectors and the boot sector.
pub(crate) const SETUP_LIMIT: usize = 256 * SECTOR;

const SECTOR: usize = 512;
const MAGIC: &[u8] = b"HdrS";
/// The boot protocol that first told where the payload is (2.08).
const PAYLOAD_SINCE: u16 = 0x0208;

const SETUP_SECTORS: usize = 0x1f1;
const HEADER_MAGIC: usize = 0x202;
const PROTOCOL: usize = 0x206;
const KERNEL_VERSION: usize = 0x20e;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

/// What the header tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BzImage {
    /// The packed kernel's place in the file.
    pub(crate) payload: Range<u64>,
    /// The kernel's release, if told.
    pub(crate) release: Option<String>,
}

/// Whether a file that starts with these bytes is an x86 boot image.
pub(crate) fn is_bzimage(start: &[u8]) -> bool {
    start
        .get(HEADER_MAGIC..)
        .is_some_and(|rest| rest.starts_with(MAGIC))
}

/// Reads the header of a boot image of `file_length` bytes from its first
/// [`SETUP_LIMIT`] bytes (or all, when it is shorter).
pub(crate) fn parse(start: &[u8], file_length: u64) -> Result<BzImage, String> {
    let cut = || "its boot header ends early".to_owned();
    if !is_bzimage(start) {
        return Err("it is not an x86 boot image".to_owned());
    }
    let protocol = le_u16(start, PROTOCOL).ok_or_else(cut)?;
    if protocol < PAYLOAD_SINCE {
        return Err(format!(
            "its boot protocol is {}.{:02}, older than 2.08",
            protocol >> 8,
            protocol & 0xff
        ));
    }
    let offset = u64::from(le_u32(start, PAYLOAD_OFFSET).ok_or_else(cut)?);
    let length = u64::from(le_u32(start, PAYLOAD_LENGTH).ok_or_else(cut)?);
    let setup = setup_length(start).ok_or_else(cut)?;
    let payload_start = setup as u64 + offset;
    let payload = payload_start..payload_start + length;
    if length < 8 || file_length < payload.end {
        return Err("its payload lies outside the file".to_owned());
    }
    let release = release(&start[..setup.min(start.len())]);
    Ok(BzImage { payload, release })
}

fn setup_length(start: &[u8]) -> Option<usize> {
    let sectors = match start.get(SETUP_SECTORS)? {
        // "for backwards compatibility, if this field contains 0, the real value is 4"
        0 => 4,
        sectors => usize::from(*sectors),
    };
    Some((sectors + 1) * SECTOR)
}

fn release(setup: &[u8]) -> Option<String> {
    let offset = usize::from(le_u16(setup, KERNEL_VERSION)?);
    let text = setup.get(offset.checked_add(SECTOR)?..)?;
    leading_release(text)
}

/// Boot images made for tests.
#[cfg(test)]
pub(crate) mod fixture {
    /// A boot image of this release around a packed kernel.
    pub(crate) fn image(release: &str, payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 3 * 512];
        image[super::SETUP_SECTORS] = 2;
        image[super::HEADER_MAGIC..][..4].copy_from_slice(super::MAGIC);
        image[super::PROTOCOL..][..2].copy_from_slice(&0x020f_u16.to_le_bytes());
        image[super::KERNEL_VERSION..][..2].copy_from_slice(&0x200_u16.to_le_bytes());
        let version = format!("{release} (builder) #1 SMP\0");
        image[0x400..][..version.len()].copy_from_slice(version.as_bytes());
        let length = u32::try_from(payload.len()).unwrap();
        image[super::PAYLOAD_OFFSET] = 16;
        image[super::PAYLOAD_LENGTH..][..4].copy_from_slice(&length.to_le_bytes());
        image.extend([0; 16]);
        image.extend(payload);
        image.extend([0; 100]);
        image
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_payload_and_release_are_found() {
        let image = fixture::image("6.1.0-1-test", b"payload!");
        let parsed = parse(&image, image.len() as u64).unwrap();
        assert_eq!(parsed.payload, 1552..1560);
        assert_eq!(parsed.release.as_deref(), Some("6.1.0-1-test"));
    }

    #[test]
    fn hostile_headers_are_refused() {
        let image = fixture::image("6.1.0", b"payload!");
        let length = image.len() as u64;
        let changed = |offset: usize, bytes: &[u8]| {
            let mut image = image.clone();
            image[offset..offset + bytes.len()].copy_from_slice(bytes);
            parse(&image, length).unwrap_err()
        };
        assert!(changed(PAYLOAD_LENGTH, &[0xff; 4]).contains("outside"));
        assert!(changed(PAYLOAD_OFFSET, &[0xff; 4]).contains("outside"));
        assert!(changed(PAYLOAD_LENGTH, &[0; 4]).contains("outside"));
        assert!(changed(PROTOCOL, &[7, 2]).contains("2.07"));
        assert!(changed(HEADER_MAGIC, b"none").contains("not an x86"));
        for length in [0, 0x202, 0x206, 0x24e] {
            assert!(parse(&image[..length], length as u64).is_err());
        }
    }

    #[test]
    fn a_version_outside_the_setup_part_is_not_believed() {
        let mut image = fixture::image("6.1.0", b"payload!");
        image[KERNEL_VERSION..][..2].copy_from_slice(&0xffff_u16.to_le_bytes());
        assert_eq!(parse(&image, image.len() as u64).unwrap().release, None);
    }

    proptest! {
        #[test]
        fn damaged_headers_never_panic(position in 0x1f0_usize..0x260, value: u8) {
            let mut image = fixture::image("6.1.0", b"payload!");
            image[position] = value;
            drop(parse(&image, image.len() as u64));
        }
    }
}

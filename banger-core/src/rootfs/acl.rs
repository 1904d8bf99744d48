//! POSIX ACLs: from the form of the system calls, which archives carry, to the
//! form on disk (kernel, `include/uapi/linux/posix_acl_xattr.h` and
//! `fs/ext4/acl.h`).

const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";

/// Version of the system calls' form.
const CALL_VERSION: u32 = 2;
/// Version of the form on disk.
const DISK_VERSION: u32 = 1;
const CALL_ENTRY: usize = 8;

/// Tags whose entries name a user or group.
const USER: u16 = 0x02;
const GROUP: u16 = 0x08;
/// Tags whose entries do not: owner, owning group, mask, others.
const PLAIN_TAGS: [u16; 4] = [0x01, 0x04, 0x10, 0x20];

/// The value as ext4 stores it; none when it is not a valid ACL.
pub(super) fn disk_value(name: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    if name == ACCESS || name == DEFAULT {
        to_disk(value)
    } else {
        Some(value.to_vec())
    }
}

fn to_disk(value: &[u8]) -> Option<Vec<u8>> {
    let (version, entries) = value.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != CALL_VERSION || entries.len() % CALL_ENTRY != 0 {
        return None;
    }
    let mut disk = DISK_VERSION.to_le_bytes().to_vec();
    for entry in entries.chunks_exact(CALL_ENTRY) {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        match tag {
            USER | GROUP => disk.extend_from_slice(entry),
            _ if PLAIN_TAGS.contains(&tag) => disk.extend_from_slice(&entry[..4]),
            _ => return None,
        }
    }
    Some(disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_entries_keep_their_id() {
        let mut call = vec![2, 0, 0, 0];
        call.extend([0x01, 0, 7, 0, 0xff, 0xff, 0xff, 0xff]);
        call.extend([0x02, 0, 5, 0, 0xe8, 3, 0, 0]);
        let disk = [1, 0, 0, 0, 0x01, 0, 7, 0, 0x02, 0, 5, 0, 0xe8, 3, 0, 0];
        assert_eq!(disk_value(ACCESS, &call).as_deref(), Some(disk.as_slice()));
        assert_eq!(disk_value(b"user.x", &call), Some(call.clone()));
    }

    #[test]
    fn malformed_acls_are_refused() {
        for value in [
            &[][..],
            &[1, 0, 0, 0],
            &[2, 0, 0, 0, 1],
            &[2, 0, 0, 0, 9, 0, 7, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(disk_value(DEFAULT, value), None, "{value:?}");
        }
    }
}

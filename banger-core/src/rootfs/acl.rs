//! POSIX ACLs: from the form of the system calls, which archives carry, to the
//! form on disk (kernel, `include/uapi/linux/posix_acl_xattr.h` and
//! `fs/ext4/acl.h`).
//!
//! A file's access ACL and its mode say the same thing twice. As when the
//! kernel sets one, the ACL decides the permission bits, and one that says no
//! more than the mode is not stored (kernel, `posix_acl_equiv_mode`).

use crate::layer::Entry;

const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";

/// Version of the system calls' form.
const CALL_VERSION: u32 = 2;
/// Version of the form on disk.
const DISK_VERSION: u32 = 1;
const CALL_ENTRY: usize = 8;

const OWNER: u16 = 0x01;
const USER: u16 = 0x02;
const OWNING_GROUP: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHERS: u16 = 0x20;

/// An ACL that cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its POSIX ACL is malformed")]
pub(super) struct MalformedAcl;

/// Brings an entry's ACLs into the form on disk.
pub(super) fn to_disk_form(entry: &mut Entry) -> Result<(), MalformedAcl> {
    let Entry {
        metadata, xattrs, ..
    } = entry;
    let mut failed = None;
    xattrs.retain_mut(|(name, value)| {
        if **name != *ACCESS && **name != *DEFAULT {
            return true;
        }
        let Some(acl) = Acl::parse(value) else {
            failed = Some(MalformedAcl);
            return true;
        };
        let says_more = acl.says_more_than_mode();
        if **name == *ACCESS {
            metadata.mode = metadata.mode & !0o777 | acl.mode();
        }
        *value = acl.disk_form();
        says_more || **name == *DEFAULT
    });
    failed.map_or(Ok(()), Err)
}

/// An ACL as the system calls have it.
struct Acl<'a>(&'a [u8]);

impl<'a> Acl<'a> {
    /// The ACL whose owner, owning group and others are all there.
    fn parse(value: &'a [u8]) -> Option<Self> {
        let (version, entries) = value.split_first_chunk::<4>()?;
        let acl = Self(entries);
        let valid = u32::from_le_bytes(*version) == CALL_VERSION
            && entries.len().is_multiple_of(CALL_ENTRY)
            && acl.entries().all(|(tag, permissions, _)| {
                permissions <= 7 && (OWNER..=OTHERS).contains(&tag) && tag.is_power_of_two()
            })
            && [OWNER, OWNING_GROUP, OTHERS]
                .iter()
                .all(|wanted| acl.permissions(*wanted).is_some());
        valid.then_some(acl)
    }

    /// Tag, permissions and all bytes of each entry.
    fn entries(&self) -> impl Iterator<Item = (u16, u16, &'a [u8])> {
        self.0.chunks_exact(CALL_ENTRY).map(|entry| {
            let number = |at: usize| u16::from_le_bytes([entry[at], entry[at + 1]]);
            (number(0), number(2), entry)
        })
    }

    fn permissions(&self, wanted: u16) -> Option<u16> {
        let mut entries = self.entries();
        entries.find_map(|(tag, permissions, _)| (tag == wanted).then_some(permissions))
    }

    /// Entries keep their id only where it names somebody.
    fn disk_form(&self) -> Box<[u8]> {
        let mut disk = DISK_VERSION.to_le_bytes().to_vec();
        for (tag, _, entry) in self.entries() {
            let named = tag == USER || tag == GROUP;
            disk.extend_from_slice(if named { entry } else { &entry[..4] });
        }
        disk.into()
    }

    /// The permission bits a mode has for it: the mask stands for the group.
    fn mode(&self) -> u16 {
        let bits = |tag| self.permissions(tag).unwrap_or(0);
        let group = self.permissions(MASK);
        let group = group.unwrap_or_else(|| bits(OWNING_GROUP));
        bits(OWNER) << 6 | group << 3 | bits(OTHERS)
    }

    fn says_more_than_mode(&self) -> bool {
        let mut entries = self.entries();
        entries.any(|(tag, _, _)| [USER, GROUP, MASK].contains(&tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::{EntryKind, LayerPath, Metadata, Timestamp};

    fn entry(name: &[u8], value: &[u8]) -> Entry {
        Entry {
            path: LayerPath::default(),
            kind: EntryKind::Fifo,
            metadata: Metadata {
                mode: 0o4600,
                uid: 0,
                gid: 0,
                mtime: Timestamp::default(),
            },
            xattrs: vec![(name.into(), value.into())],
        }
    }

    fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut value = CALL_VERSION.to_le_bytes().to_vec();
        for (tag, permissions, id) in entries {
            value.extend(tag.to_le_bytes());
            value.extend(permissions.to_le_bytes());
            value.extend(id.to_le_bytes());
        }
        value
    }

    const NOBODY: u32 = u32::MAX;

    #[test]
    fn only_named_entries_keep_their_id_and_the_mask_is_the_mode() {
        let value = acl(&[
            (OWNER, 6, NOBODY),
            (USER, 5, 1000),
            (OWNING_GROUP, 0, NOBODY),
            (MASK, 4, NOBODY),
            (OTHERS, 1, NOBODY),
        ]);
        let mut entry = entry(ACCESS, &value);
        to_disk_form(&mut entry).unwrap();
        assert_eq!(entry.metadata.mode, 0o4641);
        let disk = [
            1, 0, 0, 0, 1, 0, 6, 0, 2, 0, 5, 0, 0xe8, 3, 0, 0, 4, 0, 0, 0, 16, 0, 4, 0, 32, 0, 1, 0,
        ];
        assert_eq!(*entry.xattrs[0].1, disk);
    }

    #[test]
    fn an_acl_that_only_repeats_a_mode_becomes_the_mode() {
        let value = acl(&[
            (OWNER, 7, NOBODY),
            (OWNING_GROUP, 5, NOBODY),
            (OTHERS, 0, NOBODY),
        ]);
        let mut access = entry(ACCESS, &value);
        to_disk_form(&mut access).unwrap();
        assert_eq!((access.metadata.mode, access.xattrs.len()), (0o4750, 0));
        let mut default = entry(DEFAULT, &value);
        to_disk_form(&mut default).unwrap();
        assert_eq!((default.metadata.mode, default.xattrs.len()), (0o4600, 1));
    }

    #[test]
    fn malformed_acls_are_refused() {
        let without_owner = acl(&[(OWNING_GROUP, 5, NOBODY), (OTHERS, 0, NOBODY)]);
        let odd_tag = acl(&[
            (OWNER, 7, 0),
            (OWNING_GROUP, 5, 0),
            (OTHERS, 0, 0),
            (9, 7, 0),
        ]);
        for value in [
            &[][..],
            &[1, 0, 0, 0],
            &[2, 0, 0, 0, 1],
            &without_owner,
            &odd_tag,
        ] {
            let mut entry = entry(DEFAULT, value);
            assert_eq!(to_disk_form(&mut entry), Err(MalformedAcl), "{value:?}");
        }
    }
}

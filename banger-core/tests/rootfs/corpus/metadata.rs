//! Owners, modes, times, attributes and devices.

use std::path::Path;

use super::{case, check, layer, mtime};
use crate::rootfs::fixture::Layer;

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn metadata_is_kept_to_the_bit() {
    let with = |mode, pax: &[(&str, &[u8])]| {
        let header = Layer::header(tar::EntryType::Regular, mode);
        layer().entry("f", header, pax, b"content")
    };
    let acl = |entries: &[(u16, u16, u32)]| {
        let mut value = 2_u32.to_le_bytes().to_vec();
        for (tag, permissions, id) in entries {
            value.extend(tag.to_le_bytes());
            value.extend(permissions.to_le_bytes());
            value.extend(id.to_le_bytes());
        }
        value
    };
    let none = u32::MAX;
    let full_acl = acl(&[
        (1, 6, none),
        (2, 4, 1000),
        (4, 4, none),
        (16, 6, none),
        (32, 0, none),
    ]);
    let short_acl = acl(&[(1, 7, none), (4, 5, none), (32, 1, none)]);
    let default_acl = [("SCHILY.xattr.system.posix_acl_default", full_acl.as_slice())];
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let large = vec![b'v'; 3000];
    check(vec![
        case("mode 0", vec![with(0, &[])]),
        case("setuid", vec![with(0o4755, &[])]),
        case("setgid", vec![with(0o2755, &[])]),
        case("sticky directory", vec![layer().directory("d/", 0o1777)]),
        case("all bits", vec![with(0o7777, &[])]),
        case(
            "large ids",
            vec![with(
                0o600,
                &[("uid", b"4000000000"), ("gid", b"2147483648")],
            )],
        ),
        case("ids above ustar", vec![with(0o600, &[("uid", b"3000000")])]),
        case(
            "nanoseconds",
            vec![with(0o600, &[("mtime", b"1234567890.123456789")])],
        ),
        case("before 1970", vec![with(0o600, &[("mtime", b"-100.5")])]),
        case(
            "after 2038",
            vec![with(0o600, &[("mtime", b"4000000000.25")])],
        ),
        case(
            "the year 2400",
            vec![with(0o600, &[("mtime", b"13569465600.5")])],
        )
        .mend(|theirs| {
            // pax times have no bound; umoci's wraps to 1901
            mtime(theirs, "f", (13_569_465_600, 500_000_000));
        }),
        case(
            "user attributes",
            vec![with(
                0o600,
                &[
                    ("SCHILY.xattr.user.one", b"1"),
                    ("SCHILY.xattr.user.two", b"\0\xff2"),
                ],
            )],
        ),
        case(
            "trusted attributes",
            vec![with(0o600, &[("SCHILY.xattr.trusted.one", b"1")])],
        ),
        case(
            "an attribute in a block",
            vec![with(0o600, &[("SCHILY.xattr.user.large", &large)])],
        ),
        case(
            "attributes in both places",
            vec![with(
                0o600,
                &[
                    ("SCHILY.xattr.user.large", &large),
                    ("SCHILY.xattr.user.s", b"s"),
                    ("SCHILY.xattr.trusted.t", b"t"),
                ],
            )],
        ),
        case(
            "a capability",
            vec![with(
                0o755,
                &[("SCHILY.xattr.security.capability", &capability)],
            )],
        ),
        case(
            "an access ACL",
            vec![with(
                0o660,
                &[("SCHILY.xattr.system.posix_acl_access", &full_acl)],
            )],
        ),
        case(
            "an ACL that only repeats a mode",
            vec![with(
                0o600,
                &[("SCHILY.xattr.system.posix_acl_access", &short_acl)],
            )],
        ),
        case(
            "a default ACL",
            vec![layer().entry(
                "d/",
                Layer::header(tar::EntryType::Directory, 0o750),
                &default_acl,
                b"",
            )],
        ),
        case(
            "attributes of a directory",
            vec![layer().entry(
                "d/",
                Layer::header(tar::EntryType::Directory, 0o750),
                &[("SCHILY.xattr.user.d", b"d")],
                b"",
            )],
        ),
        case(
            "attributes replaced",
            vec![
                with(0o600, &[("SCHILY.xattr.user.one", b"1")]),
                with(0o600, &[("SCHILY.xattr.user.two", b"2")]),
            ],
        ),
        case(
            "attributes removed",
            vec![
                with(0o600, &[("SCHILY.xattr.user.one", b"1")]),
                with(0o600, &[]),
            ],
        ),
        case(
            "an empty attribute",
            vec![with(0o600, &[("SCHILY.xattr.user.empty", b"")])],
        )
        .mend(|theirs| {
            // a pax record with an empty value is an empty value; umoci drops it
            let file = theirs.get_mut(Path::new("f")).unwrap();
            file.xattrs.insert("user.empty".into(), Vec::new());
        }),
        case(
            "devices",
            vec![
                layer()
                    .device("small", tar::EntryType::Char, 1, 3)
                    .device("block", tar::EntryType::Block, 8, 17)
                    .device("large", tar::EntryType::Char, 300, 70_000)
                    .device("pipe", tar::EntryType::Fifo, 0, 0),
            ],
        ),
    ]);
}

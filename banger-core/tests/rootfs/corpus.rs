//! A corpus of layer stacks, each compared with what `umoci unpack` makes as
//! root. Where umoci is wrong the case says what the specification wants.

use std::path::Path;

use super::{
    fixture::{Bench, CREATED, Layer},
    snapshot::Snapshot,
    umoci::{difference, ours, theirs},
};

/// A stack of layers, lowest first.
struct Case {
    name: &'static str,
    layers: Vec<Layer>,
    /// Directories that no layer describes: umoci dates them with the time of
    /// its run, banger with the image's (`layer.md` says nothing of them).
    implicit: &'static [&'static str],
    /// What umoci gets wrong, put right.
    mend: fn(&mut Snapshot),
}

fn case(name: &'static str, layers: Vec<Layer>) -> Case {
    Case {
        name,
        layers,
        implicit: &[],
        mend: |_| (),
    }
}

impl Case {
    fn implicit(mut self, paths: &'static [&'static str]) -> Self {
        self.implicit = paths;
        self
    }

    fn mend(mut self, mend: fn(&mut Snapshot)) -> Self {
        self.mend = mend;
        self
    }

    /// What differs, for all to see.
    fn check(self) -> Option<String> {
        let bench = Bench::new();
        let layers: Vec<Vec<u8>> = self.layers.into_iter().map(Layer::finish).collect();
        let mut expected = theirs(&bench, &layers);
        for path in self.implicit {
            let found = expected.get_mut(Path::new(path));
            found.expect("a path of the case").mtime = (CREATED, 0);
        }
        (self.mend)(&mut expected);
        let found = match ours(&bench, &layers) {
            Ok(found) => found,
            Err(error) => return Some(format!("{}: {error}", self.name)),
        };
        difference(&found, &expected).map(|difference| format!("{}: {difference}", self.name))
    }
}

fn check(cases: Vec<Case>) {
    let count = cases.len();
    let different: Vec<String> = cases.into_iter().filter_map(Case::check).collect();
    assert!(
        different.is_empty(),
        "{} of {count} cases differ:\n{}",
        different.len(),
        different.join("\n")
    );
}

/// A layer that describes its root, so that only the case itself matters.
fn layer() -> Layer {
    Layer::new().directory("./", 0o755)
}

fn directories(paths: &[&str]) -> Layer {
    paths
        .iter()
        .fold(layer(), |layer, path| layer.directory(path, 0o755))
}

#[test]
fn whiteouts_hide_lower_layers_only() {
    let lower = || directories(&["d/"]).file("d/a", b"a").file("d/b", b"b");
    check(vec![
        case(
            "a file",
            vec![lower(), directories(&["d/"]).file("d/.wh.a", b"")],
        ),
        case("a directory", vec![lower(), layer().file(".wh.d", b"")]),
        case("nothing", vec![lower(), layer().file(".wh.none", b"")]),
        case(
            "nothing, deep",
            vec![lower(), layer().file(".wh.x", b"").file("y", b"")],
        ),
        case(
            "before its own name",
            vec![lower(), layer().file("d/.wh.a", b"").file("d/a", b"new")],
        ),
        case(
            "after its own name",
            vec![lower(), layer().file("d/a", b"new").file("d/.wh.a", b"")],
        ),
        case(
            "opaque first",
            vec![
                lower(),
                directories(&["d/"])
                    .file("d/.wh..wh..opq", b"")
                    .file("d/c", b"c"),
            ],
        ),
        case(
            "opaque last",
            vec![
                lower(),
                directories(&["d/"])
                    .file("d/c", b"c")
                    .file("d/.wh..wh..opq", b""),
            ],
        ),
        case(
            "opaque and the same name",
            vec![
                lower(),
                directories(&["d/"])
                    .file("d/a", b"n")
                    .file("d/.wh..wh..opq", b""),
            ],
        ),
        case(
            "opaque of nothing",
            vec![layer(), directories(&["d/"]).file("d/.wh..wh..opq", b"")],
        ),
        case(
            "opaque below opaque",
            vec![
                directories(&["d/", "d/e/"]).file("d/e/f", b""),
                directories(&["d/", "d/e/"])
                    .file("d/.wh..wh..opq", b"")
                    .file("d/e/.wh..wh..opq", b"")
                    .file("d/e/g", b""),
            ],
        )
        .mend(|theirs| redate(theirs, "d/e")),
        case(
            "hidden, then back",
            vec![
                lower(),
                layer().file("d/.wh.a", b""),
                layer().file("d/a", b"back"),
            ],
        ),
        case(
            "a directory hidden, then back",
            vec![
                lower(),
                layer().file(".wh.d", b""),
                directories(&["d/"]).file("d/c", b""),
            ],
        ),
        case(
            "a directory hidden and back at once",
            vec![lower(), layer().file(".wh.d", b"").directory("d/", 0o700)],
        ),
        case(
            "a hard link's first name",
            vec![
                layer().file("a", b"x").hard_link("b", "a"),
                layer().file(".wh.a", b""),
            ],
        ),
        case(
            "a link, not its target",
            vec![
                layer().file("t", b"t").symlink("l", "t"),
                layer().file(".wh.l", b""),
            ],
        ),
        case(
            "with a name of its own",
            vec![
                layer()
                    .entry(
                        ".a",
                        Layer::header(tar::EntryType::Regular, 0o600),
                        &[],
                        b"x",
                    )
                    .file("wh.b", b""),
                layer().file(".wh..a", b""),
            ],
        ),
        case(
            "three layers",
            vec![
                lower(),
                layer().file("d/.wh.a", b""),
                layer().file("d/.wh.b", b""),
            ],
        ),
    ]);
}

#[test]
fn everything_replaces_everything() {
    type Make = fn(Layer) -> Layer;
    let kinds: [(&str, Make); 5] = [
        ("file", |layer| layer.file("x", b"content")),
        ("directory", |layer| layer.directory("x/", 0o711)),
        ("symlink", |layer| layer.symlink("x", "elsewhere")),
        ("fifo", |layer| {
            layer.device("x", tar::EntryType::Fifo, 0, 0)
        }),
        ("device", |layer| {
            layer.device("x", tar::EntryType::Char, 1, 5)
        }),
    ];
    let mut cases = Vec::new();
    for (_, lower) in kinds {
        for (_, upper) in kinds {
            cases.push(case("replaced", vec![lower(layer()), upper(layer())]));
        }
    }
    let full = || directories(&["x/", "x/y/"]).file("x/y/z", b"z");
    cases.extend([
        case(
            "a full directory by a file",
            vec![full(), layer().file("x", b"f")],
        ),
        case(
            "a full directory by a link",
            vec![full(), layer().symlink("x", "y")],
        ),
        case(
            "a full directory by a directory",
            vec![full(), layer().directory("x/", 0o700)],
        ),
        case(
            "a file by a full directory",
            vec![layer().file("x", b"f"), full()],
        ),
        case(
            "a link by a full directory",
            vec![layer().symlink("x", "y"), full()],
        ),
        case(
            "metadata of a directory alone",
            vec![
                full(),
                layer().entry(
                    "x/",
                    Layer::header(tar::EntryType::Directory, 0o2770),
                    &[("mtime", b"5.25")],
                    b"",
                ),
            ],
        ),
        case(
            "a file twice in a layer",
            vec![layer().file("a", b"one").file("a", b"two")],
        ),
        case(
            "a file, then a directory in a layer",
            vec![layer().file("a", b"one").directory("a/", 0o700)],
        ),
        case(
            "a larger by a smaller file",
            vec![layer().file("a", &[1; 20_000]), layer().file("a", b"s")],
        ),
    ]);
    check(cases);
}

#[test]
fn hard_links_within_and_across_layers() {
    let one = || layer().file("a", b"shared");
    check(vec![
        case(
            "in one layer",
            vec![one().hard_link("b", "a").hard_link("c", "b")],
        ),
        case("across layers", vec![one(), layer().hard_link("b", "a")]),
        case(
            "across three layers",
            vec![
                one(),
                layer().hard_link("b", "a"),
                layer().hard_link("c", "b"),
            ],
        ),
        case(
            "its target replaced later",
            vec![
                one(),
                layer().hard_link("b", "a"),
                layer().file("a", b"new"),
            ],
        ),
        case(
            "its target hidden later",
            vec![
                one(),
                layer().hard_link("b", "a"),
                layer().file(".wh.a", b""),
            ],
        ),
        case(
            "in place of a file",
            vec![one().file("b", b"old"), layer().hard_link("b", "a")],
        ),
        case(
            "to a symbolic link",
            vec![layer().symlink("l", "nowhere").hard_link("m", "l")],
        ),
        case(
            "to a device",
            vec![
                layer()
                    .device("n", tar::EntryType::Char, 1, 3)
                    .hard_link("m", "n"),
            ],
        ),
        case("with an absolute target", vec![one().hard_link("b", "/a")]),
        case("with a dotted target", vec![one().hard_link("b", "./a")]),
        case(
            "below directories",
            vec![
                directories(&["d/", "e/"])
                    .file("d/a", b"q")
                    .hard_link("e/b", "d/a"),
            ],
        ),
        case(
            "many of them",
            vec![(0..300).fold(one(), |layer, number| {
                layer.hard_link(&format!("n{number}"), "a")
            })],
        ),
        case(
            "an empty file's",
            vec![layer().file("e", b"").hard_link("f", "e")],
        ),
        case(
            "a large file's",
            vec![layer().file("e", &[3; 70_000]).hard_link("f", "e")],
        ),
    ]);
}

#[test]
fn paths_mean_what_they_mean_below_the_root() {
    let long = "n".repeat(255);
    let deep: String = (0..60).map(|number| format!("d{number}/")).collect();
    let deep_directories = (1..=60).fold(layer(), |layer, depth| {
        let path: String = (0..depth).map(|number| format!("d{number}/")).collect();
        layer.long_entry(&path, tar::EntryType::Directory, b"")
    });
    check(vec![
        case("dotted", vec![directories(&["./d/"]).file("./d/./f", b"")]),
        case("absolute", vec![directories(&["/d/"]).file("/d/f", b"x")]),
        case(
            "doubled slashes",
            vec![directories(&["d//"]).file("d//f", b"x")],
        ),
        case("implicit parents", vec![layer().file("a/b/c", b"x")])
            .implicit(&["a", "a/b"])
            .mend(|theirs| redate(theirs, "")),
        case(
            "a parent described later",
            vec![layer().file("a/f", b"x").directory("a/", 0o700)],
        )
        .mend(|theirs| redate(theirs, "")),
        case(
            "255 bytes",
            vec![layer().long_entry(&long, tar::EntryType::Regular, b"x")],
        ),
        case(
            "a deep path",
            vec![deep_directories.long_entry(
                &format!("{deep}f"),
                tar::EntryType::Regular,
                b"deep",
            )],
        ),
        case(
            "every byte",
            vec![layer().raw_name(b"odd \x01\x7f\xff\xfe\n\t*?\\\"name", b"x")],
        ),
        case(
            "through a linked parent",
            vec![
                directories(&["usr/", "usr/lib/"]).symlink("lib", "usr/lib"),
                layer().file("lib/x", b"through"),
            ],
        ),
        case(
            "through an absolute linked parent",
            vec![
                directories(&["usr/", "usr/lib/"]).symlink("lib", "/usr/lib"),
                layer().file("lib/x", b"through"),
            ],
        ),
        case(
            "a linked parent in one layer",
            vec![directories(&["r/"]).symlink("l", "r").file("l/f", b"x")],
        ),
        case(
            "a directory without a slash",
            vec![
                layer()
                    .entry(
                        "d",
                        Layer::header(tar::EntryType::Directory, 0o750),
                        &[],
                        b"",
                    )
                    .file("d/f", b""),
            ],
        ),
        case(
            "names that begin alike",
            vec![
                directories(&["a/", "ab/"])
                    .file("a/x", b"")
                    .file("ab/x", b""),
                layer().file(".wh.a", b""),
            ],
        ),
        case(
            "a thousand names",
            vec![(0..1000).fold(directories(&["d/"]), |layer, number| {
                layer.file(&format!("d/file-with-a-number-{number}"), b"")
            })],
        ),
    ]);
}

#[test]
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
            let file = theirs.get_mut(Path::new("f")).expect("the case's file");
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

/// umoci writes below a directory after it dated it; what an entry says holds.
fn redate(snapshot: &mut Snapshot, path: &str) {
    mtime(snapshot, path, (1_600_000_000, 0));
}

fn mtime(snapshot: &mut Snapshot, path: &str, mtime: (i64, i64)) {
    let entry = snapshot.get_mut(Path::new(path));
    entry.expect("a path of the case").mtime = mtime;
}

#[test]
fn contents_of_every_length_come_back() {
    let zeros = vec![0; 3 * 4096];
    let half = [vec![0; 4096], vec![7; 4096], vec![0; 8192], vec![9; 10]].concat();
    let links: Vec<Layer> = [1, 58, 59, 60, 61, 1000, 4095]
        .map(|length| layer().symlink("l", &"t".repeat(length)))
        .into();
    let mut cases = vec![
        case("zeros", vec![layer().file("z", &zeros)]),
        case("zeros between", vec![layer().file("z", &half)]),
        case(
            "zeros to the end",
            vec![layer().file("z", &[vec![1; 100], zeros].concat())],
        ),
        case(
            "of several megabytes",
            vec![layer().file("big", &vec![0xa5; 9_000_001])],
        ),
        case(
            "hidden and shown",
            vec![
                layer().file("a", &[1; 9000]).file("b", &[2; 9000]),
                layer().file("a", &[3; 100]),
            ],
        ),
    ];
    for length in [0, 1, 511, 512, 513, 4095, 4096, 4097, 8192, 1 << 20] {
        cases.push(case(
            "a length",
            vec![layer().file("f", &vec![b'x'; length])],
        ));
    }
    cases.extend(
        links
            .into_iter()
            .map(|layer| case("a target's length", vec![layer])),
    );
    check(cases);
}

#[test]
fn formats_of_long_names_and_numbers_are_all_read() {
    let path: String = (0..4).map(|part| "p".repeat(60 + part) + "/").collect();
    let parents = path
        .split_inclusive('/')
        .scan(String::new(), |so_far, part| {
            so_far.push_str(part);
            Some(so_far.clone())
        });
    let parents = || {
        parents.clone().fold(layer(), |layer, path| {
            layer.long_entry(&path, tar::EntryType::Directory, b"")
        })
    };
    let file = format!("{path}file");
    let pax_path = [("path", file.as_bytes())];
    let target = "t/".repeat(150);
    let pax_target = [("linkpath", target.as_bytes())];
    check(vec![
        case(
            "GNU long name",
            vec![parents().long_entry(&file, tar::EntryType::Regular, b"x")],
        ),
        case(
            "pax path",
            vec![parents().entry(
                "short",
                Layer::header(tar::EntryType::Regular, 0o600),
                &pax_path,
                b"x",
            )],
        ),
        case("GNU long link", vec![layer().symlink("l", &target)]),
        case(
            "pax link path",
            vec![layer().entry(
                "l",
                Layer::header(tar::EntryType::Symlink, 0o777),
                &pax_target,
                b"",
            )],
        ),
        case(
            "an old regular file",
            vec![layer().entry(
                "f",
                Layer::header(tar::EntryType::new(0), 0o640),
                &[],
                b"old",
            )],
        ),
        case(
            "an old directory",
            vec![layer().entry("d/", Layer::header(tar::EntryType::new(0), 0o750), &[], b"")],
        )
        .mend(|theirs| {
            // before POSIX a directory was a file whose name ends in a slash
            // (GNU tar manual, "Basic Tar Format"); umoci makes a file of it
            theirs
                .get_mut(Path::new("d"))
                .expect("the case's directory")
                .kind = "type 40000".to_owned();
        }),
        case(
            "unknown pax keys",
            vec![layer().entry(
                "f",
                Layer::header(tar::EntryType::Regular, 0o640),
                &[("VENDOR.x", b"1"), ("ctime", b"12")],
                b"",
            )],
        ),
        case("an empty layer", vec![layer(), Layer::new()]),
        case("no described root", vec![Layer::new().file("f", b"x")]).implicit(&[""]),
        case(
            "a root of its own",
            vec![Layer::new().directory("./", 0o700)],
        ),
    ]);
}

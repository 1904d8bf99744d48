//! What layers hide and replace.

use super::{case, check, directories, redate};
use crate::rootfs::fixture::Layer;

use super::layer;

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
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
            "a hard link's first name, whose content is too large to be held",
            vec![
                layer().file("a", &[7; 9 << 20]).hard_link("b", "a"),
                layer().file("a", b"new"),
            ],
        ),
        case(
            "a hard link's first name, long before the link",
            vec![
                layer()
                    .file("a", &[7; 5 << 20])
                    .file("c", &[8; 5 << 20])
                    .hard_link("b", "a")
                    .hard_link("d", "c"),
                layer().file("a", b"new").file(".wh.c", b""),
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
#[expect(clippy::too_many_lines, reason = "a table")]
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

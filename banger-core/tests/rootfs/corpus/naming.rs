//! Names: hard links, and what paths mean.

use super::{case, check, directories, layer, redate};
use crate::rootfs::fixture::Layer;

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
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
#[expect(clippy::too_many_lines, reason = "a table")]
fn paths_mean_what_they_mean_below_the_root() {
    let long = "n".repeat(255);
    let path = |depth| {
        (0..depth)
            .map(|number| format!("d{number}"))
            .collect::<Vec<_>>()
            .join("/")
            + "/"
    };
    let deep = path(60);
    let deep_directories = (1..=60).fold(layer(), |layer, depth| {
        layer.long_entry(&path(depth), tar::EntryType::Directory, b"")
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

//! Content of every length, and the forms in which archives say things.

use std::path::Path;

use super::{case, check, layer};
use crate::rootfs::fixture::Layer;

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
#[expect(clippy::too_many_lines, reason = "a table")]
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
            theirs.get_mut(Path::new("d")).unwrap().kind = "type 40000".to_owned();
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

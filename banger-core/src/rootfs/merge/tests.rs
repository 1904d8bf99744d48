//! The overlay rules on small trees, and against a model.

use proptest::prelude::*;

use super::*;
use crate::{
    layer::{Content, Timestamp},
    rootfs::RootfsLimits,
};

fn path(text: &str) -> LayerPath {
    LayerPath::parse(text.as_bytes(), &RootfsLimits::default()).unwrap()
}

/// An entry; its uid tells entries apart.
fn entry(text: &str, uid: u32) -> Entry {
    let (name, kind) = match text.split_once('=') {
        Some((name, target)) if target.starts_with("->") => {
            (name, EntryKind::Symlink(target.as_bytes()[2..].to_vec()))
        }
        Some((name, target)) => (name, EntryKind::HardLink(path(target))),
        None if text.ends_with('/') => (text, EntryKind::Directory),
        None => (
            text,
            EntryKind::File(Content {
                offset: 0,
                stored: 0,
                size: 0,
                runs: None,
            }),
        ),
    };
    let mtime = Timestamp {
        seconds: 7,
        nanoseconds: 0,
    };
    let metadata = Metadata {
        mode: 0o644,
        uid,
        gid: 0,
        mtime,
    };
    Entry {
        path: path(name),
        kind,
        metadata,
        xattrs: Vec::new(),
    }
}

fn merge(layers: &[&[&str]]) -> Result<Tree, MergeError> {
    let mut tree = Tree::new(0);
    for (number, layer) in layers.iter().enumerate() {
        let uid = |index: usize| u32::try_from(number * 100 + index).unwrap();
        let entries = layer
            .iter()
            .enumerate()
            .map(|(index, text)| entry(text, uid(index)));
        apply_layer(&mut tree, number, entries.collect(), 0)?;
    }
    Ok(tree)
}

/// Every path with its owner, `/` after directories, `->` after links.
fn listing(tree: &Tree) -> Vec<String> {
    let mut lines = Vec::new();
    list(tree, ROOT, "", &mut lines);
    lines
}

fn list(tree: &Tree, directory: NodeId, prefix: &str, lines: &mut Vec<String>) {
    for (name, id) in tree.children(directory).unwrap() {
        let node = tree.node(*id);
        let path = format!("{prefix}{}", String::from_utf8_lossy(name));
        match &node.kind {
            NodeKind::Directory(_) => {
                lines.push(format!("{path}/ {}", node.metadata.uid));
                list(tree, *id, &format!("{path}/"), lines);
            }
            NodeKind::Symlink(target) => {
                lines.push(format!("{path}->{}", String::from_utf8_lossy(target)));
            }
            _ => lines.push(format!("{path} {}", node.metadata.uid)),
        }
    }
}

/// What is shown, the layers, and the paths that result.
type Case = (
    &'static str,
    &'static [&'static [&'static str]],
    &'static [&'static str],
);

const RULES: [Case; 18] = [
    (
        "the disk's own directory",
        &[&["lost+found/", "a"]],
        &["a 1"],
    ),
    ("whiteout", &[&["a", "b"], &[".wh.a"]], &["b 1"]),
    ("whiteout of a tree", &[&["d/", "d/x"], &[".wh.d"]], &[]),
    (
        "whiteout of nothing",
        &[&["a"], &[".wh.z", "q/.wh.z"]],
        &["a 0"],
    ),
    (
        "opaque before its siblings",
        &[&["d/", "d/x"], &["d/", "d/.wh..wh..opq", "d/y"]],
        &["d/ 100", "d/y 102"],
    ),
    (
        "opaque after its siblings",
        &[&["d/", "d/x"], &["d/", "d/y", "d/.wh..wh..opq"]],
        &["d/ 100", "d/y 101"],
    ),
    (
        "whiteout after the new file",
        &[&["a"], &["a", ".wh.a"]],
        &["a 100"],
    ),
    (
        "directory re-declared",
        &[&["d/", "d/x"], &["d/"]],
        &["d/ 100", "d/x 1"],
    ),
    ("file over directory", &[&["d/", "d/x"], &["d"]], &["d 100"]),
    (
        "directory over file",
        &[&["f"], &["f/", "f/x"]],
        &["f/ 100", "f/x 101"],
    ),
    (
        "link over directory",
        &[&["d/", "d/x"], &["d=->e"]],
        &["d->e"],
    ),
    (
        "directory over link",
        &[&["e/", "e/x", "d=->e"], &["d/", "d/y"]],
        &["d/ 100", "d/y 101", "e/ 0", "e/x 1"],
    ),
    (
        "through a link",
        &[&["usr/", "usr/lib/", "lib=->usr/lib"], &["lib/x"]],
        &["lib->usr/lib", "usr/ 0", "usr/lib/ 1", "usr/lib/x 100"],
    ),
    (
        "over the link that its own path goes through",
        &[&["l=->.", "l/a", "l/l/", "l/b"]],
        &["a 1", "l/ 2", "l/b 3"],
    ),
    (
        "through an absolute link",
        &[&["e/", "d=->/../e"], &["d/x"]],
        &["d->/../e", "e/ 0", "e/x 100"],
    ),
    (
        "implicit parents",
        &[&["a/b/c"]],
        &["a/ 0", "a/b/ 0", "a/b/c 0"],
    ),
    ("last duplicate wins", &[&["a", "a"]], &["a 1"]),
    (
        "reserved names",
        &[&["a", ".wh..wh.plnk/", ".wh..wh.aufs"]],
        &["a 0"],
    ),
];

#[test]
fn the_overlay_rules_hold() {
    for (what, layers, expected) in RULES {
        assert_eq!(listing(&merge(layers).unwrap()), expected, "{what}");
    }
}

#[test]
fn hard_links_keep_the_file_whatever_happens_to_its_first_name() {
    let cases: [Case; 4] = [
        ("deleted later", &[&["a", "b=a"], &[".wh.a"]], &["b 0"]),
        (
            "replaced later",
            &[&["a", "b=a"], &["a"]],
            &["a 100", "b 0"],
        ),
        ("across layers", &[&["a"], &["b=a"]], &["a 0", "b 0"]),
        (
            "to a name its own layer hides",
            &[&["a"], &[".wh.a", "b=a"]],
            &["b 0"],
        ),
    ];
    for (what, layers, expected) in cases {
        assert_eq!(listing(&merge(layers).unwrap()), expected, "{what}");
    }
    let tree = merge(&[&["a"], &["b=a"]]).unwrap();
    assert_eq!(tree.child(ROOT, b"a"), tree.child(ROOT, b"b"));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let cases: [&[&[&str]]; 9] = [
        &[&["lost+found"]],
        &[&["lost+found/", "lost+found/x"]],
        &[&["a", "a/b"]],
        &[&["l=->l", "l/x"]],
        &[&["l=->m", "m=->l"], &["l/x"]],
        &[&["a=nothing"]],
        &[&["d/", "a=d"]],
        // its own parent is a directory by then, whatever was below
        &[&["f"], &[".wh.f", "f/a=f"]],
        &[&["."]],
    ];
    for layers in cases {
        assert!(merge(layers).is_err(), "{layers:?} was merged");
    }
}

/// The model: paths to owners, a layer's whiteouts before its additions.
fn model(layers: &[Vec<String>]) -> BTreeMap<String, u32> {
    let mut paths: BTreeMap<String, u32> = BTreeMap::new();
    for (number, layer) in layers.iter().enumerate() {
        for text in layer {
            if let Some(directory) = text.strip_suffix("/.wh..wh..opq") {
                paths.retain(|path, _| !path.starts_with(&format!("{directory}/")));
            } else if let Some((directory, name)) = text.rsplit_once("/.wh.") {
                let hidden = format!("{directory}/{name}");
                paths.retain(|path, _| *path != hidden && !path.starts_with(&format!("{hidden}/")));
            }
        }
        for (index, text) in layer
            .iter()
            .enumerate()
            .filter(|(_, text)| !text.contains(".wh."))
        {
            paths.insert(text.clone(), u32::try_from(number * 100 + index).unwrap());
        }
    }
    paths
}

fn layer() -> impl Strategy<Value = Vec<String>> {
    let text = "[ab]/[cd](/[ef])?|[ab]/\\.wh\\.[cd]|[ab](/[cd])?/\\.wh\\.\\.wh\\.\\.opq";
    let fits = |path: &String| path.contains(".wh.") || path.matches('/').count() == 2;
    prop::collection::vec(text.prop_filter("files lie at one depth", fits), 0..8)
}

proptest! {
    #[test]
    fn random_stacks_agree_with_the_model(layers in prop::collection::vec(layer(), 1..5)) {
        let texts: Vec<Vec<&str>> = layers.iter().map(|layer| layer.iter().map(String::as_str).collect()).collect();
        let slices: Vec<&[&str]> = texts.iter().map(Vec::as_slice).collect();
        let tree = merge(&slices).unwrap();
        let files = listing(&tree).into_iter().filter(|line| !line.contains("/ "));
        let expected = model(&layers).into_iter().map(|(path, uid)| format!("{path} {uid}"));
        prop_assert_eq!(files.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }
}

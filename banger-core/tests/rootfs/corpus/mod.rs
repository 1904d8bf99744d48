//! A corpus of layer stacks, each compared with what `umoci unpack` makes as
//! root. Where umoci is wrong the case says what the specification wants.

mod content;
mod hiding;
mod metadata;
mod naming;

use std::path::Path;

use super::{
    fixture::{Bench, CREATED, Layer},
    saving::round_trip,
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
            found.unwrap().mtime = (CREATED, 0);
        }
        (self.mend)(&mut expected);
        let found = match ours(&bench, &layers) {
            Ok(found) => found,
            Err(error) => return Some(format!("{}: {error}", self.name)),
        };
        let wrong = difference(&found, &expected).or_else(|| round_trip(&bench, &found));
        wrong.map(|difference| format!("{}: {difference}", self.name))
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

/// umoci writes below a directory after it dated it; what an entry says holds.
fn redate(snapshot: &mut Snapshot, path: &str) {
    mtime(snapshot, path, (1_600_000_000, 0));
}

fn mtime(snapshot: &mut Snapshot, path: &str, mtime: (i64, i64)) {
    let entry = snapshot.get_mut(Path::new(path));
    entry.unwrap().mtime = mtime;
}

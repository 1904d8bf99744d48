//! Random stacks of layers, compared with the simplest model of what they
//! mean: a map from paths to nodes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use banger_core::domain::Digest;
use proptest::{collection::vec, prelude::*};

use super::{
    fixture::{Bench, Layer},
    umoci::ours,
};

/// What is at a path. Paths with the same number are one inode.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    inode: usize,
    mode: u32,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Directory,
    File(Vec<u8>),
    Link,
}

/// Something that may stand in a layer, if it makes sense there.
#[derive(Clone, Debug)]
enum Step {
    Directory(String, u32),
    File(String, u8, usize),
    Link(String),
    HardLink(String, String),
    Whiteout(String),
    Opaque(String),
}

#[derive(Clone, Debug, Default)]
struct Model {
    nodes: BTreeMap<String, Node>,
    inodes: usize,
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

impl Model {
    /// Whether a name can be made: no parent is anything but a directory.
    fn is_open(&self, path: &str) -> bool {
        let mut above = parent(path);
        while !above.is_empty() {
            if self
                .nodes
                .get(above)
                .is_some_and(|node| node.what != What::Directory)
            {
                return false;
            }
            above = parent(above);
        }
        true
    }

    fn is_file(&self, path: &str) -> bool {
        self.nodes
            .get(path)
            .is_some_and(|node| node.what != What::Directory)
    }

    fn remove(&mut self, path: &str) {
        let below = format!("{path}/");
        self.nodes
            .retain(|name, _| name != path && !name.starts_with(&below));
    }

    fn put(&mut self, path: &str, node: Node) {
        let both = node.what == What::Directory
            && self
                .nodes
                .get(path)
                .is_some_and(|old| old.what == What::Directory);
        if !both {
            self.remove(path);
        }
        let mut above = parent(path);
        while !above.is_empty() {
            let implicit = self.new_node(0o755, What::Directory);
            self.nodes.entry(above.to_owned()).or_insert(implicit);
            above = parent(above);
        }
        self.nodes.insert(path.to_owned(), node);
    }

    fn new_node(&mut self, mode: u32, what: What) -> Node {
        self.inodes += 1;
        Node {
            inode: self.inodes,
            mode,
            what,
        }
    }

    fn hide(&mut self, step: &Step) {
        match step {
            Step::Whiteout(path) => self.remove(path),
            Step::Opaque(path) => {
                let below = format!("{path}/");
                self.nodes.retain(|name, _| !name.starts_with(&below));
            }
            _ => {}
        }
    }

    /// Applies a step to model and layer alike, if it makes sense; `lower` is
    /// what the layers below have.
    fn add(&mut self, lower: &Self, step: &Step, layer: Layer) -> Layer {
        match step {
            Step::Directory(path, mode) if self.is_open(path) => {
                let node = self.new_node(*mode, What::Directory);
                self.put(path, node);
                layer.directory(path, *mode)
            }
            Step::File(path, byte, length) if self.is_open(path) => {
                let content = vec![*byte; *length];
                let node = self.new_node(0o644, What::File(content.clone()));
                self.put(path, node);
                layer.file(path, &content)
            }
            Step::Link(path) if self.is_open(path) => {
                let node = self.new_node(0o777, What::Link);
                self.put(path, node);
                layer.symlink(path, "nowhere")
            }
            Step::HardLink(path, target) if path != target && self.is_open(path) => {
                let above = format!("{path}/");
                // the target cannot be a file that the link itself lies below
                if path.starts_with(&format!("{target}/")) {
                    return layer;
                }
                // what is there now, else what a layer below has
                let known = [&*self, lower]
                    .into_iter()
                    .find(|model| model.nodes.contains_key(target));
                let known =
                    known.filter(|model| model.is_file(target) && !target.starts_with(&above));
                let Some(node) = known.map(|model| model.nodes[target].clone()) else {
                    return layer;
                };
                self.put(path, node);
                layer.hard_link(path, target)
            }
            _ => layer,
        }
    }
}

/// Builds the tar streams of a stack, and what they mean.
fn interpret(stack: &[Vec<Step>]) -> (Vec<Vec<u8>>, Model) {
    let mut model = Model::default();
    let mut layers = Vec::new();
    for steps in stack {
        let lower = model.clone();
        // a marker below something that is no directory hides nothing
        let acts = |step: &&Step| match step {
            Step::Whiteout(path) => lower.is_open(path),
            Step::Opaque(path) => lower.is_open(&format!("{path}/x")),
            _ => false,
        };
        steps.iter().filter(acts).for_each(|step| model.hide(step));
        let mut layer = Layer::new().directory("./", 0o755);
        for step in steps {
            layer = match step {
                Step::Whiteout(path) if acts(&step) => {
                    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
                    layer.file(
                        format!("{directory}/.wh.{name}").trim_start_matches('/'),
                        b"",
                    )
                }
                Step::Opaque(path) if acts(&step) => {
                    layer.file(&format!("{path}/.wh..wh..opq"), b"")
                }
                _ => model.add(&lower, step, layer),
            };
        }
        layers.push(layer.finish());
    }
    (layers, model)
}

/// What can be compared of a path: its description, its mode, and the first
/// path of the same inode.
type Comparable = BTreeMap<PathBuf, (String, u32, Option<PathBuf>)>;

fn expected(model: &Model) -> Comparable {
    let first = |inode| model.nodes.iter().find(|(_, node)| node.inode == inode);
    let names = |inode| {
        model
            .nodes
            .values()
            .filter(|node| node.inode == inode)
            .count()
    };
    let describe = |node: &Node| match &node.what {
        What::Directory => "type 40000".to_owned(),
        What::File(content) => format!("file of {} bytes, {}", content.len(), Digest::of(content)),
        What::Link => "link to nowhere".to_owned(),
    };
    let entries = model.nodes.iter().map(|(path, node)| {
        let shared = node.what != What::Directory && 1 < names(node.inode);
        let same_as = first(node.inode)
            .filter(|_| shared)
            .map(|(path, _)| PathBuf::from(path));
        (PathBuf::from(path), (describe(node), node.mode, same_as))
    });
    entries.collect()
}

fn path() -> impl Strategy<Value = String> {
    vec(prop::sample::select(vec!["a", "b", "c"]), 1..=3).prop_map(|parts| parts.join("/"))
}

fn step() -> impl Strategy<Value = Step> {
    let length = prop::sample::select(vec![0_usize, 5, 4096, 9000]);
    prop_oneof![
        2 => (path(), prop::sample::select(vec![0o700_u32, 0o755])).prop_map(|(path, mode)| Step::Directory(path, mode)),
        4 => (path(), 1..=255_u8, length).prop_map(|(path, byte, length)| Step::File(path, byte, length)),
        1 => path().prop_map(Step::Link),
        3 => (path(), path()).prop_map(|(path, target)| Step::HardLink(path, target)),
        2 => path().prop_map(Step::Whiteout),
        1 => path().prop_map(Step::Opaque),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn random_stacks_are_what_the_model_says(stack in vec(vec(step(), 0..14), 1..5)) {
        let (layers, model) = interpret(&stack);
        let found = ours(&Bench::new(), &layers).unwrap();
        let found: Comparable = found
            .into_iter()
            .filter(|(path, _)| path != Path::new(""))
            .map(|(path, found)| (path, (found.kind, found.mode, found.same_as)))
            .collect();
        prop_assert_eq!(found, expected(&model));
    }
}

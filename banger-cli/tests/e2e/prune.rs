//! Pulling and pruning at once.

use std::{collections::BTreeSet, fs, thread};

use banger_core::domain::Digest;

use super::{
    environment::{Environment, entries},
    registry::Registry,
};

const PROCESSES: usize = 8;

/// The layers in the cache.
fn cached(environment: &Environment) -> BTreeSet<String> {
    let names = entries(&environment.root.join("cache/blobs/sha256"));
    let is_blob = |name: &String| !name.contains('.');
    let blobs = names.into_iter().filter(is_blob);
    blobs.map(|name| format!("sha256:{name}")).collect()
}

/// The digest of an image's disk.
fn disk(environment: &Environment, image: &str) -> Digest {
    let text = environment.must(&["--json", "image", "show", image]);
    let image: serde_json::Value = serde_json::from_str(&text).unwrap();
    Digest::of(&fs::read(image["rootfs"].as_str().unwrap()).unwrap())
}

#[test]
fn eight_processes_pull_and_prune_and_rob_nobody() {
    let registry = Registry::start();
    let environment = Environment::with_kernel();
    let references = [("debian", "bookworm"), ("busybox", "latest")]
        .map(|(name, tag)| registry.push(&environment.layout(name, tag), &format!("{name}:{tag}")));
    // skopeo asked for some, too
    let before = registry.blob_requests();
    thread::scope(|scope| {
        for process in 0..PROCESSES {
            let (environment, reference) = (&environment, &references[process % 2]);
            scope.spawn(move || {
                let name = format!("image-{process}");
                environment.must(&["image", "prune"]);
                let pull = [
                    "image", "pull", reference, "--name", &name, "--size", "512M",
                ];
                environment.must(&pull);
                environment.must(&["image", "prune"]);
            });
        }
    });
    let expected: Vec<String> = (0..PROCESSES).map(|it| format!("image-{it}")).collect();
    assert_eq!(environment.names("image"), expected);
    for first in 0..2 {
        let made = disk(&environment, &expected[first]);
        for image in expected.iter().skip(first).step_by(2) {
            assert_eq!(disk(&environment, image), made, "{image}");
        }
    }
    let layers = cached(&environment);
    assert!(2 < layers.len(), "{layers:?}");
    let after = registry.blob_requests();
    for layer in &layers {
        let earlier = before.get(layer).copied().unwrap_or_default();
        assert_eq!(after[layer] - earlier, 1, "{layer}");
    }
    // once no image was made of them, they go
    assert_eq!(
        environment
            .must(&["image", "prune", "--dry-run"])
            .lines()
            .count(),
        1
    );
    let deleted: Vec<&str> = expected.iter().map(String::as_str).collect();
    environment.must(&[&["image", "delete"], &deleted[..]].concat());
    environment.must(&["image", "prune", "--older-than", "1h"]);
    assert_eq!(cached(&environment), layers);
    let told = environment.must(&["image", "prune"]);
    assert!(layers.iter().all(|layer| told.contains(layer)), "{told}");
    assert_eq!(cached(&environment), BTreeSet::new());
    assert_eq!(entries(&environment.root.join("cache/leases")), [""; 0]);
}

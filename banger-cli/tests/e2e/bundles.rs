//! Bundles and catalogs with real machines.

use std::fs;

use banger_core::domain::Digest;
use serde_json::{Value, json};

use super::environment::Environment;

/// A configuration file of this environment's own.
pub(crate) fn configure(environment: &Environment, text: &str) {
    let directory = environment.root.join(".config/banger");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("config.toml"), text).unwrap();
}

fn json(environment: &Environment, arguments: &[&str]) -> Value {
    let arguments = [&["--json"], arguments].concat();
    serde_json::from_str(&environment.must(&arguments)).unwrap()
}

#[test]
fn a_bundle_boots_where_nothing_else_is() {
    let maker = Environment::with_image();
    let bundle = maker.root.join("small.tar.zst");
    let line = maker.must(&["image", "bundle", "small", "-o", bundle.as_str()]);
    let digest = Digest::of(&fs::read(&bundle).unwrap());
    assert_eq!(line, format!("{}  {bundle}\n", digest.to_hex()));
    let refused = maker.refused(&["image", "bundle", "small", "-o", bundle.as_str()], 4);
    assert!(refused.contains("exists already"), "{refused}");

    let environment = Environment::empty();
    let reference = format!("file:{bundle}@{digest}");
    environment.must(&["image", "pull", &reference, "--name", "again"]);
    let image = json(&environment, &["image", "show", "again"]);
    assert_eq!(image["origin"]["kind"], "bundle");
    assert_eq!(image["origin"]["sha256"], digest.to_hex());
    let before = json(&maker, &["image", "show", "small"]);
    assert_eq!(image["run_config"], before["run_config"]);
    let differences = environment.must(&["image", "ls", "again", "/bin"]);
    assert!(differences.contains("busybox"), "{differences}");
    let output = environment.must(&["vm", "run", "--rm", "again", "--", "uname", "-m"]);
    assert_eq!(output, "x86_64\n");
    // the same bundle is not unpacked twice
    let output = environment.must(&["vm", "run", "--rm", &reference, "--", "echo", "once"]);
    assert_eq!(output, "once\n");
    let unpinned = format!("file:{bundle}");
    environment.must(&["vm", "run", "--rm", &unpinned, "--", "true"]);
    assert_eq!(environment.names("image"), ["again"]);
    environment.assert_no_vm_left();
}

#[test]
fn the_golden_image_is_pulled_from_its_catalog_and_boots() {
    let environment = Environment::empty();
    let golden = environment.testbed.join("golden-image");
    let config =
        format!("[[catalogs]]\nname = \"golden\"\nsource = \"file:{golden}/catalog.json\"\n");
    configure(&environment, &config);
    let available = json(&environment, &["image", "list", "--available"]);
    assert_eq!(available[0]["name"], "golden");
    assert_eq!(available[0]["catalog"], "golden");
    let output = environment.must(&["vm", "run", "--rm", "golden", "--", "echo", "booted"]);
    assert_eq!(output, "booted\n");
    let image = json(&environment, &["image", "show", "golden"]);
    assert_eq!(image["origin"]["sha256"], available[0]["sha256"]);

    let kernels = json(&environment, &["kernel", "list", "--available"]);
    let names: Vec<&str> = kernels
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["golden-kernel", "debian-cloud", "debian"]);
    environment.must(&["kernel", "pull", "golden-kernel"]);
    let again = environment.refused(&["kernel", "pull", "golden-kernel"], 4);
    assert!(again.contains("--force"), "{again}");
    environment.must(&["kernel", "pull", "--force", "golden-kernel"]);
    environment.must(&["kernel", "delete", "golden-kernel"]);
    // a kernel that is named where one is needed is pulled, too
    let layout = environment.layout("busybox", "latest");
    let pull = [
        "image",
        "pull",
        &layout,
        "--name",
        "small",
        "--kernel",
        "golden-kernel",
    ];
    environment.must(&pull);
    assert_eq!(environment.names("kernel"), ["golden-kernel"]);
    environment.assert_no_vm_left();
}

#[test]
fn a_broken_catalog_is_told_and_the_others_are_listed() {
    let environment = Environment::empty();
    let catalog = environment.root.join("catalog.json");
    fs::write(&catalog, json!({"format": 9}).to_string()).unwrap();
    let config = format!("[[catalogs]]\nname = \"broken\"\nsource = \"file:{catalog}\"\n");
    configure(&environment, &config);
    let output = environment.run(&["kernel", "list", "--available"]);
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    let (listed, told) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert!(listed.contains("debian-cloud"), "{listed}");
    assert!(told.contains("catalog broken is malformed"), "{told}");
    // the name might have been in it
    let refused = environment.refused(&["kernel", "pull", "debian-cloud"], 8);
    assert!(refused.contains("broken"), "{refused}");
}

//! `buf` has nothing to say against the API's protos.
//!
//! With `BANGER_CODEGEN=release` what the API is now becomes what later ones are
//! compared with: for a release, and until the first one for every change that is
//! meant.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What was released, or would have been.
const RELEASED: &str = "released.binpb";

fn protos() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto")
}

/// `buf` from the test bed, and what it says.
#[expect(
    clippy::disallowed_methods,
    reason = "the test bed's place comes from the environment, and a test makes a child"
)]
fn buf(directory: &Path, arguments: &[&str]) -> (bool, String) {
    let testbed = std::env::var_os("BANGER_TESTBED").map(PathBuf::from);
    let testbed = testbed.unwrap_or_else(|| panic!("BANGER_TESTBED is not set"));
    let output = Command::new(testbed.join("buf/buf"))
        .args(arguments)
        .current_dir(directory)
        .env("BUF_CACHE_DIR", env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap_or_else(|error| panic!("`cargo xtask testbed` gets buf: {error}"));
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn must(directory: &Path, arguments: &[&str]) {
    let (fine, said) = buf(directory, arguments);
    assert!(fine, "buf {}: {said}", arguments.join(" "));
}

#[test]
fn the_protos_are_lint_clean_and_formatted() {
    must(&protos(), &["lint", "."]);
    must(&protos(), &["format", "--diff", "--exit-code", "."]);
}

#[test]
fn what_was_released_still_works() {
    #[expect(clippy::disallowed_methods, reason = "the one switch of the generator")]
    if std::env::var_os("BANGER_CODEGEN").is_some_and(|mode| mode == "release") {
        must(&protos(), &["build", ".", "--output", RELEASED]);
    }
    must(&protos(), &["breaking", ".", "--against", RELEASED]);
}

#[test]
fn a_field_that_is_taken_away_would_be_noticed() {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("breaking");
    let inside = scratch.join("banger/v1");
    fs::create_dir_all(&inside).unwrap();
    let directory = protos();
    for entry in fs::read_dir(directory.join("banger/v1")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let text = text.replace("  string etag = 3;", "  string etag = 300;");
        fs::write(inside.join(path.file_name().unwrap()), text).unwrap();
    }
    let config = fs::read(directory.join("buf.yaml")).unwrap();
    fs::write(scratch.join("buf.yaml"), config).unwrap();
    let released = directory.join(RELEASED);
    let (fine, said) = buf(
        &scratch,
        &["breaking", ".", "--against", released.to_str().unwrap()],
    );
    assert!(!fine && said.contains("etag"), "{said}");
}

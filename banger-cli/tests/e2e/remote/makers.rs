//! What makes bundles, with a service and without one.

use std::fs;

use super::{Twins, shown};
use crate::e2e::environment::Environment;

const REFUSED: &str = "
    3 both image bundle nothing -o /nowhere/bundle
    3 both kernel bundle nothing -o /nowhere/bundle
    3 both -q image bundle tiny -o /nowhere/bundle
    3 both -q kernel bundle linux -o /nowhere/bundle
    4 both -q image bundle tiny -o TAKEN
    4 both -q kernel bundle linux -o TAKEN";

impl Twins {
    /// Has each write a file of its own, and compares what they show and wrote.
    fn same_file(&self, line: &[&str]) -> String {
        let sides = [(&self.embedded, false), (&self.remote, true)];
        let ran = sides.map(|(environment, is_remote)| {
            let file = environment.root.join("made");
            let line = [line, &["-o", file.as_str()]].concat();
            let output = if is_remote {
                self.remote(&line)
            } else {
                environment.run(&line)
            };
            assert!(output.status.success(), "banger {line:?}: {output:?}");
            let made = fs::read(&file).unwrap();
            fs::remove_file(&file).unwrap();
            assert!(!file.with_extension("partial").exists());
            (shown(&output, environment), made)
        });
        let [(embedded, of_embedded), (remote, of_remote)] = ran;
        assert_eq!(embedded.stdout, remote.stdout, "banger {line:?}");
        assert!(of_embedded == of_remote, "banger {line:?}");
        remote.stderr
    }
}

#[test]
fn bundles_are_the_same_with_a_service() {
    let twins = Twins::with_image();
    let reference = twins.remote.layout("busybox", "latest");
    let pull = ["-q", "image", "pull", &reference, "--name", "tiny"];
    twins.same(&[&pull[..], &["--size", "64M"]].concat(), 0);
    for line in [
        &["image", "bundle", "tiny"][..],
        &["image", "bundle", "tiny", "--without-kernel"],
        &["kernel", "bundle", "linux"],
    ] {
        let told = twins.same_file(line);
        assert!(told.contains("banger: packing ("), "{told}");
        let told = twins.same_file(&[&["-q", "--json"], line].concat());
        assert_eq!(told, "");
    }
    // neither's own
    let shared = Environment::empty();
    let taken = shared.root.join("taken");
    fs::write(&taken, "mine").unwrap();
    twins.play(REFUSED, &[("TAKEN", taken.as_str())]);
    assert_eq!(fs::read_to_string(&taken).unwrap(), "mine");
    twins.agree();
}

//! What makes bundles and images, with a service and without one.

use std::fs;

use serde_json::Value;

use super::{Shown, Twins, shown};
use crate::e2e::{
    building::json,
    containerfiles::{with_own_storage, write_context},
    environment::{Environment, entries},
};

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

/// Where a build has come to, by what was said.
fn steps(shown: &Shown) -> Vec<&str> {
    let told = ["] STEP ", "banger: building ", "banger: taking "];
    let lines = shown.stderr.lines();
    lines
        .filter(|line| told.iter().any(|part| line.contains(part)))
        .collect()
}

impl Twins {
    /// Has both build, each with working directories of its own.
    fn build(&self, line: &[&str], path: Option<&str>) -> [Shown; 2] {
        let line = [&["image", "build", "--name", "own"], line].concat();
        let remotely = self.remotely(&line);
        [(&self.embedded, &line), (&self.remote, &remotely)].map(|(environment, line)| {
            let mut command = match path {
                Some(_) => environment.direct(line),
                None => environment.command(line),
            };
            with_own_storage(environment, &mut command);
            command.envs(path.map(|path| ("PATH", path)));
            shown(&command.output().unwrap(), environment)
        })
    }

    /// Has both build what cannot be built, for the same reason.
    fn no_build(&self, line: &[&str], path: Option<&str>, status: i32) -> Shown {
        let [embedded, remote] = self.build(line, path);
        assert_eq!(embedded, remote, "{line:?}");
        assert_eq!(remote.status, Some(status), "{remote:?}");
        for environment in [&self.embedded, &self.remote] {
            let images = environment.state().join("images");
            let left = entries(&images);
            assert!(!left.iter().any(|name| name.contains("build")), "{left:?}");
        }
        self.assert_nothing_is_left();
        remote
    }
}

#[test]
fn containerfiles_are_built_here_and_are_images_of_a_service() {
    let twins = Twins::start();
    let package = format!("deb:{}", twins.remote.testbed.join("kernel/kernel.deb"));
    twins.same(&["-q", "kernel", "import", &package, "--name", "linux"], 0);
    let shared = Environment::empty();
    write_context(&shared.root);
    let context = shared.root.join("context");
    let file = context.join("Containerfile");
    let context = context.as_str();

    let none = twins.no_build(&[context], Some("/nowhere"), 9);
    assert!(none.stderr.contains("none of buildah"), "{none:?}");
    twins.no_build(&["/nowhere"], None, 2);
    twins.no_build(&[context, "--kernel", "nothing"], None, 3);

    let [embedded, remote] = twins.build(&[context, "--build-arg", "WORD=given"], None);
    assert_eq!(remote.status, Some(0), "{remote:?}");
    assert_eq!(
        (&embedded.stdout, embedded.status),
        (&remote.stdout, remote.status)
    );
    assert!(steps(&embedded).len() > 4, "{embedded:?}");
    assert_eq!(steps(&embedded), steps(&remote));
    let images = [&twins.embedded, &twins.remote].map(|one| json(one, "own"));
    for image in &images {
        assert_eq!(image["origin"]["kind"], "containerfile");
        assert_eq!(image["origin"]["containerfile"], file.as_str());
        assert_ne!(image["origin"]["manifest"], Value::Null);
    }
    for field in ["run_config", "kernel_name", "apparent_bytes"] {
        assert_eq!(images[0][field], images[1][field], "{field}");
    }
    twins.same(&["vm", "run", "--rm", "own"], 0);
    twins.no_build(&[context], None, 4);

    twins.same(&["image", "delete", "own"], 0);
    fs::write(&file, "FROM scratch\nCOPY missing /\n").unwrap();
    let failed = twins.no_build(&[context], None, 1);
    assert!(failed.stderr.contains("build-logs/own.log"), "{failed:?}");
    twins.agree();
}

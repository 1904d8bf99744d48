//! From a fresh checkout to a command inside a VM.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    Result, guest, packages,
    paths::{target, workspace},
    run::{capture, command, run, say},
    testbed,
    tests::cargo,
};

const KERNEL: &str = "linux-cloud";
const IMAGE: &str = "quickstart";
const SCRIPT: &str = "uname -a; cat /etc/os-release";

/// Builds banger, gets a kernel and an image, and runs a command in a VM.
pub(crate) fn quickstart(reference: Option<&str>) -> Result<()> {
    testbed::check_architecture()?;
    packages::install(packages::Set::Run)?;
    guest::build()?;
    say("building banger");
    run(cargo().args(["build", "--package", "banger-cli"]))?;
    let built = Instant::now();
    let banger = Banger::new();
    banger.import_kernel()?;
    banger.pull_image(reference)?;
    say(&format!("running `{SCRIPT}` in a VM"));
    run(banger
        .command()
        .args(["vm", "run", "--rm", IMAGE, "--", "sh", "-c", SCRIPT]))?;
    banger.explain(built.elapsed());
    Ok(())
}

/// The program just built, with a state of its own below the target directory.
struct Banger {
    program: std::path::PathBuf,
    state: std::path::PathBuf,
}

impl Banger {
    fn new() -> Self {
        Self {
            program: target().join("debug/banger"),
            state: target().join("quickstart"),
        }
    }

    fn command(&self) -> std::process::Command {
        let mut banger = command(&self.program, workspace());
        banger
            .env("BANGER_STATE_DIR", self.state.join("state"))
            .env("BANGER_CACHE_DIR", self.state.join("cache"));
        banger
    }

    fn import_kernel(&self) -> Result<()> {
        if capture(self.command().args(["kernel", "show", KERNEL])).is_ok() {
            return Ok(());
        }
        say("importing a kernel");
        run(self.command().args([
            "kernel",
            "import",
            "apt:linux-image-cloud-amd64",
            "--name",
            KERNEL,
        ]))
    }

    fn pull_image(&self, reference: Option<&str>) -> Result<()> {
        if reference.is_none() && capture(self.command().args(["image", "show", IMAGE])).is_ok() {
            return Ok(());
        }
        let reference = match reference {
            Some(reference) => reference.to_owned(),
            None => layout_reference(&testbed::debian()?),
        };
        if capture(self.command().args(["image", "show", IMAGE])).is_ok() {
            run(self.command().args(["image", "delete", IMAGE]))?;
        }
        say(&format!("pulling {reference}"));
        run(self.command().args([
            "image", "pull", &reference, "--name", IMAGE, "--kernel", KERNEL,
        ]))
    }

    fn explain(&self, elapsed: Duration) {
        say(&format!(
            "done, {} s after the build; go on with",
            elapsed.as_secs()
        ));
        say(&format!(
            "  export BANGER_STATE_DIR={}",
            self.state.join("state").display()
        ));
        say(&format!(
            "  export BANGER_CACHE_DIR={}",
            self.state.join("cache").display()
        ));
        say(&format!(
            "  {} vm run --rm -i -t {IMAGE} -- bash",
            self.program.display()
        ));
    }
}

fn layout_reference(layout: &Path) -> String {
    format!("oci:{}:bookworm", layout.display())
}

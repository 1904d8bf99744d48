//! From a fresh checkout to a command inside a VM.
//!
//! The build is a development one: the crates that hash, inflate and write
//! disks are optimised in it too, and it is there in half the time. State lies
//! below the target directory, apart from the user's own.

use std::{path::PathBuf, process::Command, time::Instant};

use crate::{
    Result, guest, packages,
    paths::{target, workspace},
    run::{capture, command, run, say, step},
    testbed::{self, KERNEL_PACKAGE},
    tests::cargo,
};

const KERNEL: &str = "linux-cloud";
const SCRIPT: &str = "uname -a; cat /etc/os-release";

/// Builds banger, gets a kernel and an image, and runs a command in a VM.
pub(crate) fn quickstart(reference: Option<&str>) -> Result<()> {
    testbed::check_architecture()?;
    packages::install(packages::Set::Run)?;
    guest::build()?;
    step("building banger", || {
        run(cargo().args(["build", "--package", "banger-cli"]))
    })?;
    let built = Instant::now();
    let banger = Banger::new();
    banger.import_kernel()?;
    let image = match reference {
        Some(reference) => banger.pull_again(reference)?,
        None => banger.pull_debian()?,
    };
    step(&format!("running `{SCRIPT}` in a VM"), || {
        let guest_command = ["--", "sh", "-c", SCRIPT];
        run(banger
            .command(&["vm", "run", "--rm", image])
            .args(guest_command))
    })?;
    say(&format!(
        "done, {} s after the build",
        built.elapsed().as_secs()
    ));
    banger.explain(image);
    Ok(())
}

/// The program just built, with a state of its own below the target directory.
struct Banger {
    program: PathBuf,
    state: PathBuf,
    cache: PathBuf,
}

impl Banger {
    fn new() -> Self {
        Self {
            program: target().join("debug/banger"),
            state: target().join("quickstart/state"),
            cache: target().join("quickstart/cache"),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut banger = command(&self.program, workspace());
        banger
            .args(arguments)
            .env("BANGER_STATE_DIR", &self.state)
            .env("BANGER_CACHE_DIR", &self.cache);
        banger
    }

    fn has(&self, object: &str, name: &str) -> bool {
        capture(&mut self.command(&[object, "show", name])).is_ok()
    }

    fn import_kernel(&self) -> Result<()> {
        if self.has("kernel", KERNEL) {
            return Ok(());
        }
        let source = format!("apt:{KERNEL_PACKAGE}");
        let import = ["kernel", "import", &source, "--name", KERNEL];
        step("importing a kernel", || {
            packages::with_package_lists(|| capture(&mut self.command(&import)).map(drop))
        })
    }

    /// The Debian image that is made on this machine, pulled once.
    fn pull_debian(&self) -> Result<&'static str> {
        const IMAGE: &str = "quickstart";
        if !self.has("image", IMAGE) {
            let layout = testbed::debian()?;
            self.pull(&format!("oci:{}:bookworm", layout.display()), IMAGE)?;
        }
        Ok(IMAGE)
    }

    /// The image that was asked for, as it is now.
    fn pull_again(&self, reference: &str) -> Result<&'static str> {
        const IMAGE: &str = "quickstart-given";
        if self.has("image", IMAGE) {
            run(&mut self.command(&["image", "delete", IMAGE]))?;
        }
        self.pull(reference, IMAGE)?;
        Ok(IMAGE)
    }

    fn pull(&self, reference: &str, name: &str) -> Result<()> {
        let pull = [
            "image", "pull", reference, "--name", name, "--kernel", KERNEL,
        ];
        step(&format!("pulling {reference}"), || {
            run(&mut self.command(&pull))
        })
    }

    fn explain(&self, image: &str) {
        say("go on with");
        say(&format!(
            "  export BANGER_STATE_DIR={}",
            self.state.display()
        ));
        say(&format!(
            "  export BANGER_CACHE_DIR={}",
            self.cache.display()
        ));
        let program = self.program.display();
        say(&format!("  {program} vm run --rm -it {image} -- sh"));
        say(&format!("  {program} --help"));
    }
}

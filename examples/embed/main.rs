//! A program of its own that runs a command in a virtual machine.
//!
//! ```text
//! embed DIRECTORY GUEST-PROGRAM QEMU KERNEL REFERENCE COMMAND [ARGUMENT…]
//! ```
//!
//! `DIRECTORY` is where this program keeps everything, `GUEST-PROGRAM` the
//! static `banger-guest`, `QEMU` the `qemu-system-x86_64` to use, `KERNEL` a
//! source such as `deb:kernel.deb`, and `REFERENCE` an image such as
//! `oci:layout:latest`. The kernel is imported and the image pulled once. The
//! command's output and exit status are this program's; a failure of its own is
//! status 125.

mod arguments;
mod machine;
mod stock;

use std::{error::Error, io, process::ExitCode};

use banger_core::{
    catalog::SupplyOptions,
    directories::Directories,
    local::{Local, LocalOptions},
    oci::SourceOptions,
    rootfs::RootfsLimits,
    store::Connections,
    vm::{
        MonitorProgram,
        monitor::{self, MonitorArguments},
    },
    vmm::VmmPrograms,
};
use camino::Utf8PathBuf;

use arguments::{Arguments, MONITOR};

/// Any failure: a program that embeds the library and has more to do than tell
/// its user would rather look at each error's `kind()`.
type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The status of a failure that is not the command's.
const FAILED: u8 = 125;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let status = match words.split_first() {
        Some((verb, rest)) if verb == MONITOR => return be_monitor(rest),
        _ => embed(&words),
    };
    status.map_or_else(|error| complain(error.as_ref()), ExitCode::from)
}

/// The library starts this very program once more for each machine. It must
/// get the main thread for itself, outside any runtime.
fn be_monitor(words: &[String]) -> ExitCode {
    match MonitorArguments::parse(words.iter().cloned()) {
        Ok(arguments) => monitor::run(&arguments),
        Err(error) => complain(&error),
    }
}

#[expect(clippy::print_stderr, reason = "a command speaks to its user")]
fn complain(error: &dyn Error) -> ExitCode {
    eprintln!("embed: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  because {error}");
        cause = error.source();
    }
    ExitCode::from(FAILED)
}

fn embed(words: &[String]) -> Result<u8> {
    let arguments = Arguments::parse(words)?;
    let options = options(&arguments)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let local = Local::open(options).await?;
        let kernel = stock::kernel(&*local.kernels, &arguments.kernel).await?;
        let image = stock::image(&*local.images, arguments.reference, kernel).await?;
        machine::run_command(&*local.vms, image.id, arguments.command).await
    })
}

/// The library looks at no environment and guesses no path: it is told.
fn options(arguments: &Arguments) -> Result<LocalOptions> {
    let below = |name| arguments.directory.join(name);
    let directories = Directories {
        state: below("state"),
        cache: below("cache"),
        runtime: below("run"),
    };
    let this_program = Utf8PathBuf::from_path_buf(std::env::current_exe()?)
        .map_err(|path| io::Error::other(format!("{} is not valid UTF-8", path.display())))?;
    Ok(LocalOptions {
        guest_program: arguments.guest_program.clone(),
        monitor: MonitorProgram {
            program: this_program,
            arguments: vec![MONITOR.to_owned()],
        },
        vmm: VmmPrograms {
            qemu: Some(arguments.qemu.clone()),
            ..VmmPrograms::default()
        },
        sources: SourceOptions::new(directories.clone()),
        limits: RootfsLimits::default(),
        supply: SupplyOptions::default(),
        connections: Connections::Shared,
        directories,
    })
}

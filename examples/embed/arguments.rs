//! What the program is told by its command line.

use banger_core::{kernel::KernelSource, oci::ImageReference};
use camino::{Utf8Path, Utf8PathBuf};

use crate::Result;

/// The first argument of a process that is to be a monitor.
pub(crate) const MONITOR: &str = "__monitor";

const USAGE: &str =
    "usage: embed DIRECTORY GUEST-PROGRAM QEMU KERNEL REFERENCE COMMAND [ARGUMENT...]";

/// The command line, understood.
pub(crate) struct Arguments {
    /// Where state, cache and sockets lie.
    pub(crate) directory: Utf8PathBuf,
    /// The static program that becomes the machine's init.
    pub(crate) guest_program: Utf8PathBuf,
    /// The program that runs machines.
    pub(crate) qemu: Utf8PathBuf,
    /// Where the kernel comes from.
    pub(crate) kernel: KernelSource,
    /// Where the image comes from.
    pub(crate) reference: ImageReference,
    /// Program and arguments.
    pub(crate) command: Vec<String>,
}

impl Arguments {
    /// Reads the words after the program's name.
    pub(crate) fn parse(words: &[String]) -> Result<Self> {
        let [
            directory,
            guest_program,
            qemu,
            kernel,
            reference,
            command @ ..,
        ] = words
        else {
            return Err(USAGE.into());
        };
        if command.is_empty() {
            return Err(USAGE.into());
        }
        Ok(Self {
            directory: absolute(directory)?,
            guest_program: absolute(guest_program)?,
            qemu: absolute(qemu)?,
            kernel: kernel.parse()?,
            reference: reference.parse()?,
            command: command.to_vec(),
        })
    }
}

/// A machine's monitor runs elsewhere: relative paths would mislead it.
fn absolute(path: &str) -> Result<Utf8PathBuf> {
    Ok(camino::absolute_utf8(Utf8Path::new(path))?)
}

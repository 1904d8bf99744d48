//! Loading kernel modules.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use super::stage::Cause;
use crate::console;

/// Loads the modules in the given order.
pub(super) fn load(modules: &[PathBuf]) -> Result<(), Cause> {
    modules.iter().try_for_each(|module| load_one(module))
}

/// One that is loaded already is fine. One whose hardware is missing is said
/// and passed over: if the boot needs it, a later stage knows better.
fn load_one(path: &Path) -> Result<(), Cause> {
    let file = File::open(path).map_err(Cause::of("open", path.display()))?;
    match rustix::system::finit_module(&file, c"", 0) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(Errno::NODEV) => {
            console::line(format_args!("{}: no such hardware", path.display()));
            Ok(())
        }
        Err(errno) => Err(Cause::of("load", path.display())(errno)),
    }
}

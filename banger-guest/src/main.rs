//! `/init` of every machine that banger boots: see the library of this crate.

use std::process::ExitCode;

fn main() -> ExitCode {
    banger_guest::init::run()
}

//! Formats an empty disk and prints how many microseconds that took.
#![allow(clippy::print_stdout, reason = "a measuring program")]

use std::time::Instant;

use banger_core::{domain::Bytes, rootfs::format_empty};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(path), Some(mebibytes)) = (arguments.next(), arguments.next()) else {
        return Err("usage: format_empty FILE MEBIBYTES".into());
    };
    let size = Bytes::from_mib(mebibytes.parse()?);
    let started = Instant::now();
    format_empty(path.as_str().into(), size, [7; 16])?;
    println!("{}", started.elapsed().as_micros());
    Ok(())
}

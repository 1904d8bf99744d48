//! The machine's source of randomness.
//!
//! A machine that goes on from a snapshot would draw the numbers that its
//! siblings draw: the host gives each something of its own.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
};

use crate::sys;

/// What is written to it is mixed in (random(4)).
const DEVICE: &str = "/dev/urandom";
/// Most bytes that are taken.
const LIMIT: usize = 256;

/// Mixes bytes of the host's in, and has every generator seeded anew.
pub(super) fn adopt(bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let mut device = OpenOptions::new().write(true).open(DEVICE)?;
    device.write_all(&bytes[..bytes.len().min(LIMIT)])?;
    sys::reseed(&device)
}

//! What the machine can do at most with an image: the larger of inflating and
//! hashing, shared by all cores, and of writing the content.
//!
//! The best inflater takes whole buffers (libdeflate), which no engine within
//! bounded memory can; the hash is SHA-256 by the processor's own instructions
//! where it has them; the disk is written past the page cache. All of it
//! is measured on one thread, in the same run as what it is compared with.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::Instant,
};

use flate2::bufread::MultiGzDecoder;
use libdeflater::Decompressor;
use rustix::{
    fs::OFlags,
    time::{ClockId, clock_gettime},
};
use sha2::{Digest as _, Sha256};

use super::super::{layout, machine::cores};
use crate::{Result, paths::failed_at};

const PIECE: usize = 4 << 20;
/// What O_DIRECT wants addresses and lengths to be multiples of.
const ALIGNMENT: usize = 4096;

/// Seconds of one thread.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limit {
    pub(super) inflate: f64,
    pub(super) hash_compressed: f64,
    pub(super) hash_inflated: f64,
    /// For information: what the inflater of pure Rust takes.
    pub(super) inflate_zlib_rs: f64,
    pub(super) write: f64,
}

impl Limit {
    /// Measures with the layers of a layout and as many bytes of content.
    pub(super) fn measure(layout: &Path, content: u64, directory: &Path) -> Result<Self> {
        let mut limit = Self::default();
        for layer in layout::layers(layout)? {
            limit.add(&layer)?;
        }
        let file = directory.join("limit");
        limit.write = write(&file, content).map_err(failed_at(&file))?;
        fs::remove_file(&file).map_err(failed_at(&file))?;
        Ok(limit)
    }

    fn add(&mut self, layer: &Path) -> Result<()> {
        let compressed = fs::read(layer).map_err(failed_at(layer))?;
        let mut inflated = vec![0; inflated_size(&compressed)];
        // memory is found before it is measured
        inflated.fill(1);
        let mut decompressor = Decompressor::new();
        let (seconds, outcome) =
            processor_time(|| decompressor.gzip_decompress(&compressed, &mut inflated));
        outcome.map_err(|error| format!("{}: {error}", layer.display()))?;
        self.inflate += seconds;
        self.hash_compressed += processor_time(|| Sha256::digest(&compressed)).0;
        self.hash_inflated += processor_time(|| Sha256::digest(&inflated)).0;
        let (seconds, outcome) = processor_time(|| drain(&compressed));
        outcome.map_err(failed_at(layer))?;
        self.inflate_zlib_rs += seconds;
        Ok(())
    }

    /// The limit where only what was fetched is verified.
    pub(super) fn seconds(&self) -> f64 {
        self.shared(self.inflate + self.hash_compressed)
    }

    /// The limit where the archives inside are verified as well.
    pub(super) fn seconds_verified(&self) -> f64 {
        self.shared(self.inflate + self.hash_compressed + self.hash_inflated)
    }

    #[expect(clippy::cast_precision_loss, reason = "nobody has 2^52 cores")]
    fn shared(&self, work: f64) -> f64 {
        (work / cores() as f64).max(self.write)
    }
}

/// The size in a gzip member's last four bytes (RFC 1952).
fn inflated_size(compressed: &[u8]) -> usize {
    let size = compressed.last_chunk().copied().map(u32::from_le_bytes);
    size.and_then(|size| usize::try_from(size).ok())
        .unwrap_or_default()
}

fn drain(compressed: &[u8]) -> io::Result<()> {
    let mut decoder = MultiGzDecoder::new(compressed);
    let mut buffer = vec![0; 256 << 10];
    while 0 < decoder.read(&mut buffer)? {}
    Ok(())
}

/// Does something and answers what it took of the processor.
fn processor_time<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let before = thread_seconds();
    let done = work();
    (thread_seconds() - before, done)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "threads live for less than 2^52 s"
)]
fn thread_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Writes so many bytes past the page cache and answers the seconds.
fn write(path: &Path, bytes: u64) -> io::Result<f64> {
    let mut file = direct(path)?;
    let buffer = noise();
    let piece = aligned(&buffer);
    let pieces = bytes.div_ceil(PIECE as u64);
    let started = Instant::now();
    for _ in 0..pieces {
        file.write_all(piece)?;
    }
    Ok(started.elapsed().as_secs_f64())
}

fn direct(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::DIRECT.bits()).map_err(io::Error::other)?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .custom_flags(flags)
        .open(path)
}

/// Bytes that nothing below can compress, enough to hold an aligned piece.
fn noise() -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next)
        .take(PIECE + ALIGNMENT)
        .collect()
}

fn aligned(buffer: &[u8]) -> &[u8] {
    let start = buffer.as_ptr().align_offset(ALIGNMENT);
    &buffer[start..start + PIECE]
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn the_size_of_a_member_is_at_its_end() {
        assert_eq!(inflated_size(&[9, 9, 1, 2, 0, 0]), 513);
        assert_eq!(inflated_size(&[]), 0);
    }

    #[test]
    fn a_piece_starts_where_the_disk_wants_it() {
        let buffer = noise();
        let piece = aligned(&buffer);
        assert_eq!((piece.as_ptr().addr() % ALIGNMENT, piece.len()), (0, PIECE));
    }

    #[test]
    fn the_limit_is_the_larger_part() {
        let mut limit = Limit {
            write: 1000.0,
            ..Limit::default()
        };
        assert!((limit.seconds() - 1000.0).abs() < 1e-9);
        limit.inflate = 1e9;
        limit.hash_inflated = 1e9;
        assert!(1000.0 < limit.seconds() && limit.seconds() < limit.seconds_verified());
    }
}

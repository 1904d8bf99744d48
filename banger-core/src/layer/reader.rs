//! The inflated, hashed and bounded byte stream of a layer blob.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
};

use camino::Utf8Path;
use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::Digest,
    host_fs::{IoContext as _, PathError},
    oci::Compression,
    rootfs::RootfsLimits,
};

/// Below this many inflated bytes no ratio is looked at: small layers of
/// zeros are common and harmless.
const RATIO_FLOOR: u64 = 64 << 20;

/// Why a layer is not read on. It travels inside the I/O error of the read
/// that noticed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stopped {
    /// The layer inflates to more than the limits allow.
    #[error("{0}")]
    Limit(String),
    /// The caller gave the work up.
    #[error("cancelled")]
    Cancelled,
}

/// Reads a layer's tar stream.
pub struct LayerReader {
    inner: Box<dyn Read + Send>,
    hasher: Option<Sha256>,
    length: u64,
    limit: u64,
    ratio_limit: u64,
    cancel: CancellationToken,
}

impl std::fmt::Debug for LayerReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LayerReader")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

impl LayerReader {
    /// Opens a blob and hashes what comes out of it.
    pub fn open(
        path: &Utf8Path,
        compression: Compression,
        limits: &RootfsLimits,
        cancel: &CancellationToken,
    ) -> Result<Self, PathError> {
        let reader = Self::open_verified(path, compression, limits, cancel)?;
        Ok(Self {
            hasher: Some(Sha256::new()),
            ..reader
        })
    }

    /// Opens a blob that was read through and verified before.
    pub fn open_verified(
        path: &Utf8Path,
        compression: Compression,
        limits: &RootfsLimits,
        cancel: &CancellationToken,
    ) -> Result<Self, PathError> {
        let file = File::open(path).at("open", path)?;
        let compressed = file.metadata().at("inspect", path)?.len();
        let input = BufReader::with_capacity(1 << 18, file);
        Ok(Self {
            inner: inflate(input, compression).at("read", path)?,
            hasher: None,
            length: 0,
            limit: limits.layer_bytes.get(),
            ratio_limit: compressed.saturating_mul(limits.ratio).max(RATIO_FLOOR),
            cancel: cancel.clone(),
        })
    }

    /// Bytes read so far.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.length
    }

    /// Reads what is left and answers the digest of the whole stream.
    pub fn finish(mut self) -> io::Result<Option<Digest>> {
        let mut rest = vec![0; 1 << 16];
        while self.read(&mut rest)? != 0 {}
        Ok(self
            .hasher
            .map(|hasher| Digest::from_bytes(hasher.finalize().into())))
    }

    /// Passes over bytes; fewer than asked is an error.
    pub fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let skipped = io::copy(&mut self.by_ref().take(bytes), &mut io::sink())?;
        if skipped == bytes {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    fn check_limits(&self) -> io::Result<()> {
        let exceeded = if self.limit < self.length {
            format!("inflated bytes ({})", self.limit)
        } else if self.ratio_limit < self.length {
            format!(
                "inflated bytes for each compressed byte ({} in all)",
                self.ratio_limit
            )
        } else {
            return Ok(());
        };
        Err(io::Error::other(Stopped::Limit(exceeded)))
    }
}

impl Read for LayerReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other(Stopped::Cancelled));
        }
        let read = self.inner.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..read]);
        }
        self.length += read as u64;
        self.check_limits()?;
        Ok(read)
    }
}

/// Decoders that go on to the next gzip member and zstd frame: eStargz and
/// pigz write many.
fn inflate(
    input: impl BufRead + Send + 'static,
    compression: Compression,
) -> io::Result<Box<dyn Read + Send>> {
    Ok(match compression {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(MultiGzDecoder::new(input)),
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(input)?;
            // a frame may ask for no more memory than 128 MiB (RFC 8878, 3.1.1.1.2)
            decoder.window_log_max(27)?;
            Box::new(decoder)
        }
    })
}

//! The inflated, bounded byte stream of a layer blob.

use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::Digest,
    host_fs::{FileRange, IoContext as _, PathError, RangeReader},
    oci::{ArrivalReader, Compression, LayerBlob, LayerBytes},
};

use super::{LimitExceeded, RootfsLimits};

/// Below this many inflated bytes no ratio is looked at: small layers of
/// zeros are common and harmless.
const RATIO_FLOOR: u64 = 64 << 20;

/// Bytes read from a blob at once.
const READ_SIZE: usize = 1 << 18;

/// Why a layer is not read on. It travels inside the I/O error of the read
/// that noticed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stopped {
    /// The layer inflates to more than the limits allow.
    #[error("it exceeds the limit on {0}")]
    Limit(LimitExceeded),
    /// The caller gave the work up.
    #[error("cancelled")]
    Cancelled,
}

/// Reads a layer's tar stream.
pub struct LayerReader {
    decoder: Decoder,
    length: u64,
    limits: RootfsLimits,
    /// What [`RootfsLimits::ratio`] means for this blob.
    ratio_bytes: u64,
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
    /// Opens a blob. Unless it was verified before, its bytes are hashed as
    /// they pass.
    pub fn open(
        blob: &LayerBlob,
        limits: &RootfsLimits,
        cancel: &CancellationToken,
    ) -> Result<Self, PathError> {
        let path = &blob.path;
        let bytes = HashedBytes {
            reader: StoredBytes::of(blob).at("open", path)?,
            hasher: (!blob.verified).then(Sha256::new),
        };
        let compression = blob.descriptor.compression;
        Self::new(bytes, compression, limits, cancel).at("read", path)
    }

    /// Reads what a range inflates to, and hashes its bytes as they pass.
    pub(crate) fn of_range(
        range: &FileRange,
        compression: Compression,
        limits: &RootfsLimits,
        cancel: &CancellationToken,
    ) -> io::Result<Self> {
        let bytes = HashedBytes {
            reader: StoredBytes::Range(range.reader()),
            hasher: Some(Sha256::new()),
        };
        Self::new(bytes, compression, limits, cancel)
    }

    fn new(
        bytes: HashedBytes,
        compression: Compression,
        limits: &RootfsLimits,
        cancel: &CancellationToken,
    ) -> io::Result<Self> {
        let stored = bytes.reader.length();
        Ok(Self {
            decoder: Decoder::new(bytes, compression)?,
            length: 0,
            limits: *limits,
            ratio_bytes: stored.saturating_mul(limits.ratio).max(RATIO_FLOOR),
            cancel: cancel.clone(),
        })
    }

    /// Reads up to a full buffer; less only at the end of the stream.
    pub fn read_full(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(filled)
    }

    /// The digest of the blob, whose stream was read to its end; none when it
    /// was verified before.
    pub fn finish(self) -> io::Result<Option<Digest>> {
        let mut input = self.decoder.into_input();
        // what a decoder leaves behind its last frame belongs to the blob too
        io::copy(&mut input, &mut io::sink())?;
        let hasher = input.into_inner().hasher;
        Ok(hasher.map(|hasher| Digest::from_bytes(hasher.finalize().into())))
    }

    fn check_limits(&self) -> io::Result<()> {
        let exceeded = if self.limits.layer_bytes.get() < self.length {
            LimitExceeded::LayerBytes(self.limits.layer_bytes)
        } else if self.ratio_bytes < self.length {
            LimitExceeded::Ratio(self.limits.ratio)
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
        let read = self.decoder.read(buffer)?;
        self.length += read as u64;
        self.check_limits()?;
        Ok(read)
    }
}

/// The bytes of a blob as stored.
enum StoredBytes {
    Range(RangeReader),
    Arriving(ArrivalReader),
}

impl StoredBytes {
    fn of(blob: &LayerBlob) -> io::Result<Self> {
        Ok(match &blob.bytes {
            LayerBytes::Arriving(arrival) => Self::Arriving(arrival.reader()),
            LayerBytes::File | LayerBytes::Range(_) => Self::Range(blob.range()?.reader()),
        })
    }

    fn length(&self) -> u64 {
        match self {
            Self::Range(reader) => reader.length(),
            Self::Arriving(reader) => reader.length(),
        }
    }
}

impl Read for StoredBytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Range(reader) => reader.read(buffer),
            Self::Arriving(reader) => reader.read(buffer),
        }
    }
}

/// The bytes of a blob as stored, hashed as they pass unless they were before.
struct HashedBytes {
    reader: StoredBytes,
    hasher: Option<Sha256>,
}

impl Read for HashedBytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..read]);
        }
        Ok(read)
    }
}

type Input = BufReader<HashedBytes>;

/// Decoders that go on to the next gzip member and zstd frame: eStargz and
/// pigz write many.
enum Decoder {
    Plain(Input),
    Gzip(Box<MultiGzDecoder<Input>>),
    Zstd(Box<zstd::Decoder<'static, Input>>),
}

impl Decoder {
    fn new(input: HashedBytes, compression: Compression) -> io::Result<Self> {
        let input = BufReader::with_capacity(READ_SIZE, input);
        Ok(match compression {
            Compression::None => Self::Plain(input),
            Compression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(input))),
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(input)?;
                // a frame may ask for no more memory than 128 MiB (RFC 8878, 3.1.1.1.2)
                decoder.window_log_max(27)?;
                Self::Zstd(Box::new(decoder))
            }
        })
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(input) => input.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }

    fn into_input(self) -> Input {
        match self {
            Self::Plain(input) => input,
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish(),
        }
    }
}

/// What a blob says its stream inflates to, without proof; none when it does
/// not say. Holds up its thread until the blob is there. One gzip member ends with its length modulo 2^32 (RFC 1952, 2.3.1).
pub fn claimed_length(blob: &LayerBlob) -> io::Result<Option<u64>> {
    let bytes = blob.range()?;
    let stored = bytes.length();
    Ok(match blob.descriptor.compression {
        Compression::None => Some(stored),
        Compression::Gzip => {
            let mut trailer = [0; 4];
            let mut reader = bytes.reader();
            io::Seek::seek(&mut reader, io::SeekFrom::Start(stored.saturating_sub(4)))?;
            reader.read_exact(&mut trailer)?;
            // less than is stored: several members, or more than 4 GiB
            Some(u64::from(u32::from_le_bytes(trailer))).filter(|length| stored <= *length)
        }
        Compression::Zstd => {
            let header = bytes.read_at_most(18)?;
            zstd::zstd_safe::get_frame_content_size(&header)
                .ok()
                .flatten()
                .filter(|length| stored <= *length)
        }
    })
}

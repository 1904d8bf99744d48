//! One interface to every compression that kernels, packages and modules use.
//!
//! Purpose: a blocking reader over any of them. Invariants: memory is bounded
//! whatever a stream claims; a stream that ends early is an error, never a
//! short read; streams of several members are read to their end.
//! Entry points: [`Compression`], [`inflate`], [`Limited`].

use std::{
    io::{self, BufRead as _, BufReader, Read},
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use async_compression::tokio::bufread::{
    BzDecoder, GzipDecoder, LzmaDecoder, XzDecoder, ZstdDecoder,
};
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};

use super::{lz4_legacy::Lz4Legacy, lzo::Lzop};

/// Most memory an LZMA dictionary may take: twice what Linux's own build uses.
const LZMA_MEMORY_LIMIT: u64 = 256 << 20;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    /// Not at all.
    None,
    Gzip,
    Bzip2,
    /// The old `.lzma` form.
    Lzma,
    Xz,
    Zstd,
    /// The form that came before LZ4 frames; Linux uses no other.
    Lz4Legacy,
    /// LZO1X in lzop's container.
    Lzo,
}

impl Compression {
    /// Bytes of a stream that tell its compression.
    pub(crate) const MAGIC_LENGTH: usize = 9;

    /// The compression of the payload that starts with these bytes (Linux,
    /// `lib/decompress.c`); an ELF file is not compressed.
    pub(crate) fn of_magic(start: &[u8]) -> Option<Self> {
        let known: [(&[u8], Self); 8] = [
            (b"\x7fELF", Self::None),
            (b"\x1f\x8b", Self::Gzip),
            (b"BZh", Self::Bzip2),
            (b"\x5d\0\0", Self::Lzma),
            (b"\xfd7zXZ\0", Self::Xz),
            (b"\x28\xb5\x2f\xfd", Self::Zstd),
            (b"\x02\x21\x4c\x18", Self::Lz4Legacy),
            (b"\x89LZO\0\r\n\x1a\n", Self::Lzo),
        ];
        let found = known.iter().find(|(magic, _)| start.starts_with(magic));
        found.map(|(_, compression)| *compression)
    }

    /// The compression a file name's last extension stands for.
    pub(crate) fn of_extension(extension: &str) -> Option<Self> {
        match extension {
            "gz" => Some(Self::Gzip),
            "bz2" => Some(Self::Bzip2),
            "lzma" => Some(Self::Lzma),
            "xz" => Some(Self::Xz),
            "zst" => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// The inflated content of `source`. Holds up its thread as `source` does.
pub(crate) fn inflate<'a>(
    compression: Compression,
    source: impl Read + Unpin + 'a,
) -> Box<dyn Read + 'a> {
    let ready = Ready(BufReader::new(source));
    macro_rules! members {
        ($decoder:expr) => {{
            let mut decoder = $decoder;
            decoder.multiple_members(true);
            Box::new(Polled(decoder))
        }};
    }
    match compression {
        Compression::None => Box::new(ready.0),
        Compression::Gzip => members!(GzipDecoder::new(ready)),
        Compression::Bzip2 => members!(BzDecoder::new(ready)),
        Compression::Lzma => Box::new(Polled(LzmaDecoder::with_mem_limit(
            ready,
            LZMA_MEMORY_LIMIT,
        ))),
        Compression::Xz => members!(XzDecoder::with_mem_limit(ready, LZMA_MEMORY_LIMIT)),
        Compression::Zstd => members!(ZstdDecoder::new(ready)),
        Compression::Lz4Legacy => Box::new(Lz4Legacy::new(ready.0)),
        Compression::Lzo => Box::new(Lzop::new(ready.0)),
    }
}

/// A blocking source as an asynchronous one that is always ready.
struct Ready<R>(BufReader<R>);

impl<R: Read + Unpin> AsyncRead for Ready<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.0.read(buffer.initialize_unfilled())?;
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl<R: Read + Unpin> AsyncBufRead for Ready<R> {
    fn poll_fill_buf(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        Poll::Ready(self.get_mut().0.fill_buf())
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        self.0.consume(amount);
    }
}

/// A decoder over a [`Ready`] source, read without a runtime: it never waits.
struct Polled<D>(D);

impl<D: AsyncRead + Unpin> Read for Polled<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        let mut context = Context::from_waker(Waker::noop());
        match pin!(&mut self.0).poll_read(&mut context, &mut buffer) {
            Poll::Ready(read) => read.map(|()| buffer.filled().len()),
            Poll::Pending => Err(io::Error::other("a decoder waits for data that is there")),
        }
    }
}

/// A reader that fails once more than `limit` bytes came out of it.
#[derive(Debug)]
pub(crate) struct Limited<R> {
    source: R,
    limit: u64,
    left: u64,
}

impl<R: Read> Limited<R> {
    pub(crate) const fn new(source: R, limit: u64) -> Self {
        Self {
            source,
            limit,
            left: limit,
        }
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        let left = self.left.checked_sub(read as u64);
        self.left = left.ok_or_else(|| {
            io::Error::other(format!(
                "it holds more than the {} bytes allowed",
                self.limit
            ))
        })?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use async_compression::tokio::write;
    use tokio::io::{AsyncWrite, AsyncWriteExt as _};

    use super::*;

    async fn written<W: AsyncWrite + Unpin>(
        mut encoder: W,
        into_inner: fn(W) -> Vec<u8>,
        content: &[u8],
    ) -> Vec<u8> {
        encoder.write_all(content).await.unwrap();
        encoder.shutdown().await.unwrap();
        into_inner(encoder)
    }

    macro_rules! packed {
        ($encoder:ident, $content:expr) => {
            written(
                write::$encoder::new(Vec::new()),
                write::$encoder::into_inner,
                $content,
            )
            .await
        };
    }

    fn read_all(compression: Compression, packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        inflate(compression, packed).read_to_end(&mut content)?;
        Ok(content)
    }

    #[tokio::test]
    async fn every_stream_comes_back_and_a_cut_one_is_an_error() {
        let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let streams = [
            (Compression::Gzip, packed!(GzipEncoder, &content)),
            (Compression::Bzip2, packed!(BzEncoder, &content)),
            (Compression::Lzma, packed!(LzmaEncoder, &content)),
            (Compression::Xz, packed!(XzEncoder, &content)),
            (Compression::Zstd, packed!(ZstdEncoder, &content)),
        ];
        for (compression, packed) in streams {
            assert_eq!(Compression::of_magic(&packed), Some(compression));
            assert_eq!(read_all(compression, &packed).unwrap(), content);
            let cut = read_all(compression, &packed[..packed.len() / 2]);
            assert!(cut.is_err(), "{compression:?} accepted half a stream");
        }
    }

    #[tokio::test]
    async fn all_members_of_a_stream_are_read() {
        let mut packed = packed!(GzipEncoder, b"one");
        packed.extend(packed!(GzipEncoder, b"two"));
        assert_eq!(read_all(Compression::Gzip, &packed).unwrap(), b"onetwo");
    }

    #[test]
    fn a_dictionary_beyond_the_limit_is_refused() {
        // an .lzma header that asks for a 3 GiB dictionary
        let mut header = vec![0x5d];
        header.extend((3_u32 << 30).to_le_bytes());
        header.extend([0xff; 8]);
        header.extend([0; 64]);
        let error = read_all(Compression::Lzma, &header).unwrap_err();
        assert!(error.to_string().contains("memory"), "{error}");
    }

    #[test]
    fn the_limit_is_exact() {
        let mut sink = Vec::new();
        Limited::new(&b"12345"[..], 5)
            .read_to_end(&mut sink)
            .unwrap();
        let error = Limited::new(&b"12345"[..], 4).read_to_end(&mut sink);
        assert!(error.unwrap_err().to_string().contains("4 bytes"));
    }
}

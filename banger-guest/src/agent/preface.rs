//! Where a connection of the host begins on a stream.
//!
//! What is left of an earlier connection is skipped: an HTTP/2 client begins
//! with a preface that nothing else contains (RFC 9113, section 3.4).
//! Invariant: not a byte after the preface is read here.
//! Entry point: [`Begun`].

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// What every HTTP/2 client sends first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream on which a client's preface was found; it is read again.
#[derive(Debug)]
pub(super) struct Begun<S> {
    /// What of the preface was not read again.
    preface: &'static [u8],
    stream: S,
}

impl<S: AsyncRead + Unpin> Begun<S> {
    /// Skips everything before the next preface. None when the stream ends.
    pub(super) async fn find(mut stream: S) -> io::Result<Option<Self>> {
        let mut found = 0;
        let mut bytes = [0; PREFACE.len()];
        while found < PREFACE.len() {
            // what is missing: reading that much cannot read too far
            let missing = bytes.get_mut(found..).unwrap_or_default();
            let count = stream.read(missing).await?;
            if count == 0 {
                return Ok(None);
            }
            let read = missing.get(..count).unwrap_or_default().to_vec();
            found = read.into_iter().fold(found, advance);
        }
        Ok(Some(Self {
            preface: PREFACE,
            stream,
        }))
    }
}

/// How much of the preface is at the end, after another byte.
fn advance(found: usize, byte: u8) -> usize {
    let mut seen = PREFACE.get(..found).unwrap_or_default().to_vec();
    seen.push(byte);
    (0..seen.len())
        .find_map(|start| seen.get(start..).filter(|end| PREFACE.starts_with(end)))
        .map_or(0, <[u8]>::len)
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.preface.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let (now, later) = self
            .preface
            .split_at(self.preface.len().min(buffer.remaining()));
        buffer.put_slice(now);
        self.preface = later;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn rest(bytes: &[u8]) -> Option<Vec<u8>> {
        let (mut near, far) = tokio::io::duplex(1 << 16);
        tokio::io::AsyncWriteExt::write_all(&mut near, bytes)
            .await
            .unwrap();
        drop(near);
        let mut begun = Begun::find(far).await.unwrap()?;
        let mut rest = Vec::new();
        begun.read_to_end(&mut rest).await.unwrap();
        Some(rest)
    }

    #[tokio::test]
    async fn what_is_left_of_an_earlier_connection_is_skipped() {
        let preface: &[u8] = PREFACE;
        for left in [
            &b""[..],
            b"P",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r",
            b"PRI * HTTP/PRI * HTTP/2.0\r\n\r\n",
            &vec![0; 60_000],
        ] {
            let left = left.get(..left.len().min(60_000)).unwrap();
            let sent = [left, preface, b"and on"].concat();
            assert_eq!(rest(&sent).await.unwrap(), [preface, b"and on"].concat());
        }
        assert_eq!(rest(b"PRI * HTTP/2.0").await, None);
    }
}

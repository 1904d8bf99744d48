//! A tar stream in pieces, between a blocking thread and the runtime.
//!
//! Invariants: the channel is bounded, so a slow side slows the other; a stream
//! whose end was not said is broken, never short.

use std::io::{self, Read, Write};

use bytes::{Buf as _, Bytes};
use tokio::sync::mpsc;

/// Most bytes of a piece that is written.
pub const MAX_PIECE: usize = 64 << 10;
/// Pieces that may wait.
const QUEUE: usize = 4;

/// A piece of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes.
    Data(Bytes),
    /// The stream is whole.
    End,
}

/// A bounded channel of pieces.
#[must_use]
pub fn piece_channel() -> (mpsc::Sender<Piece>, mpsc::Receiver<Piece>) {
    mpsc::channel(QUEUE)
}

/// Reads what comes in pieces. Blocks; not for async threads.
#[derive(Debug)]
pub struct PieceReader {
    pieces: mpsc::Receiver<Piece>,
    present: Bytes,
    ended: bool,
}

impl PieceReader {
    /// Reads from a channel.
    #[must_use]
    pub const fn new(pieces: mpsc::Receiver<Piece>) -> Self {
        Self {
            pieces,
            present: Bytes::new(),
            ended: false,
        }
    }
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.present.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Piece::Data(bytes)) => self.present = bytes,
                Some(Piece::End) => self.ended = true,
                None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        let count = buffer.len().min(self.present.len());
        self.present
            .copy_to_slice(buffer.get_mut(..count).unwrap_or_default());
        Ok(count)
    }
}

/// Sends what is written, in pieces. Blocks; not for async threads.
#[derive(Debug)]
pub struct PieceWriter {
    pieces: mpsc::Sender<Piece>,
    present: Vec<u8>,
}

impl PieceWriter {
    /// Writes to a channel.
    #[must_use]
    pub const fn new(pieces: mpsc::Sender<Piece>) -> Self {
        Self {
            pieces,
            present: Vec::new(),
        }
    }

    /// Sends what is left, and that the stream is whole.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.send(Piece::End)
    }

    fn send(&self, piece: Piece) -> io::Result<()> {
        let sent = self.pieces.blocking_send(piece);
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.present.capacity() == 0 {
            self.present.reserve_exact(MAX_PIECE);
        }
        let count = bytes.len().min(MAX_PIECE - self.present.len());
        let (taken, _) = bytes.split_at(count);
        self.present.extend_from_slice(taken);
        if self.present.len() == MAX_PIECE {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.present.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.present);
        self.send(Piece::Data(bytes.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_stream_comes_out_as_it_went_in() {
        let (sender, pieces) = piece_channel();
        let content: Vec<u8> = (0..1_000_003_u32)
            .map(|at| u8::try_from(at % 251).unwrap())
            .collect();
        let written = content.clone();
        let writing = thread::spawn(move || {
            let mut writer = PieceWriter::new(sender);
            for part in written.chunks(777) {
                writer.write_all(part).unwrap();
            }
            writer.finish().unwrap();
        });
        let mut read = Vec::new();
        PieceReader::new(pieces).read_to_end(&mut read).unwrap();
        writing.join().unwrap();
        assert!(read == content);
    }

    #[test]
    fn a_stream_that_is_given_up_is_broken_for_both() {
        let (sender, pieces) = piece_channel();
        sender
            .blocking_send(Piece::Data(Bytes::from_static(b"a")))
            .unwrap();
        drop(sender);
        let mut read = Vec::new();
        let broken = PieceReader::new(pieces).read_to_end(&mut read).unwrap_err();
        assert_eq!(broken.kind(), io::ErrorKind::ConnectionAborted);
        let (sender, pieces) = piece_channel();
        drop(pieces);
        let broken = PieceWriter::new(sender).write_all(&vec![0; MAX_PIECE]);
        assert_eq!(broken.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}

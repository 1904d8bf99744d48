//! The disk's file: bytes in ascending order, written behind the work's back.
//!
//! Invariants: at most [`BUFFERS`] pieces exist; the first failure of a write
//! is the one that is told; what lies beyond the disk's end is not written.
//! Entry point: [`with_output`].

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

/// Bytes of one write.
const PIECE: usize = 4 << 20;
/// Pieces that are filled, waiting or being written.
const BUFFERS: usize = 3;

/// Bytes and their place.
struct Piece {
    offset: u64,
    bytes: Vec<u8>,
}

/// Where content goes. A dry one takes everything and writes nothing.
pub(super) struct Output {
    pieces: Option<SyncSender<Piece>>,
    spare: Receiver<Vec<u8>>,
    current: Piece,
    written: u64,
    broken: bool,
}

/// Lets `work` write to `file`, or to nothing when there is none, and answers
/// once all is written.
pub(super) fn with_output<T>(
    file: Option<&File>,
    work: impl FnOnce(&mut Output) -> T,
) -> io::Result<T> {
    let (pieces, to_write) = sync_channel::<Piece>(BUFFERS);
    let (give_back, spare) = sync_channel(BUFFERS);
    for _ in 1..BUFFERS {
        // the channel has room for all
        drop(give_back.try_send(Vec::with_capacity(PIECE)));
    }
    let mut output = Output {
        pieces: file.is_some().then_some(pieces),
        spare,
        current: Piece {
            offset: 0,
            bytes: Vec::with_capacity(PIECE),
        },
        written: 0,
        broken: false,
    };
    thread::scope(|scope| {
        let writer = scope.spawn(move || write_all(file, &to_write, &give_back));
        let worked = work(&mut output);
        output.flush();
        drop(output);
        let wrote = writer.join();
        wrote.unwrap_or_else(|_| Err(io::Error::other("the writing thread ended")))?;
        Ok(worked)
    })
}

fn write_all(
    file: Option<&File>,
    pieces: &Receiver<Piece>,
    give_back: &SyncSender<Vec<u8>>,
) -> io::Result<()> {
    for Piece { offset, mut bytes } in pieces {
        if let Some(file) = file {
            file.write_all_at(&bytes, offset)?;
        }
        bytes.clear();
        drop(give_back.try_send(bytes));
    }
    Ok(())
}

impl Output {
    /// Puts bytes at an offset. A failed write ends the writing; it is told at
    /// the end.
    pub(super) fn put(&mut self, offset: u64, bytes: &[u8]) {
        if self.broken {
            return;
        }
        let end = self.current.offset + self.current.bytes.len() as u64;
        if offset != end {
            self.flush();
            self.current.offset = offset;
        }
        let mut left = bytes;
        while !left.is_empty() {
            let room = PIECE - self.current.bytes.len();
            let (now, later) = left.split_at(room.min(left.len()));
            self.current.bytes.extend_from_slice(now);
            if later.is_empty() && self.current.bytes.len() < PIECE {
                return;
            }
            let next = self.current.offset + self.current.bytes.len() as u64;
            self.flush();
            self.current.offset = next;
            left = later;
        }
    }

    /// Whether a write has failed, so that going on is pointless.
    pub(super) const fn is_broken(&self) -> bool {
        self.broken
    }

    /// Bytes handed on to be written.
    pub(super) const fn written(&self) -> u64 {
        self.written
    }

    fn flush(&mut self) {
        if self.current.bytes.is_empty() {
            return;
        }
        let Some(pieces) = &self.pieces else {
            self.current.bytes.clear();
            return;
        };
        let bytes = std::mem::take(&mut self.current.bytes);
        self.written += bytes.len() as u64;
        let offset = self.current.offset;
        drop(pieces.send(Piece { offset, bytes }));
        match self.spare.recv() {
            Ok(spare) => self.current.bytes = spare,
            Err(_) => self.broken = true,
        }
    }
}

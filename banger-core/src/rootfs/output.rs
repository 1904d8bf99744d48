//! The disk's file: bytes in ascending order, written behind the work's back.
//!
//! Content goes past the page cache where the file system lets it: it is
//! written once, and whoever waits for stable storage afterwards waits less.
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

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::aligned::AlignedBuffer;

/// Bytes of one write.
const PIECE: usize = 4 << 20;
/// Pieces that are filled, waiting or being written.
const BUFFERS: usize = 3;

/// Whole blocks and their place.
struct Piece {
    offset: u64,
    bytes: AlignedBuffer,
}

/// Where content goes. A dry one takes everything and writes nothing.
pub(super) struct Output {
    pieces: Option<SyncSender<Piece>>,
    spare: Receiver<AlignedBuffer>,
    offset: u64,
    /// What follows the offset; none when writing has failed.
    bytes: Option<AlignedBuffer>,
    written: u64,
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
        drop(give_back.try_send(AlignedBuffer::with_capacity(PIECE)));
    }
    let mut output = Output {
        pieces: file.is_some().then_some(pieces),
        spare,
        offset: 0,
        bytes: Some(AlignedBuffer::with_capacity(PIECE)),
        written: 0,
    };
    thread::scope(|scope| {
        let writer =
            scope.spawn(move || file.map_or(Ok(()), |file| write_all(file, &to_write, &give_back)));
        let worked = work(&mut output);
        output.flush();
        drop(output);
        let wrote = writer.join();
        wrote.unwrap_or_else(|_| Err(io::Error::other("the writing thread ended")))?;
        Ok(worked)
    })
}

fn write_all(
    file: &File,
    pieces: &Receiver<Piece>,
    give_back: &SyncSender<AlignedBuffer>,
) -> io::Result<()> {
    let flags = fcntl_getfl(file)?;
    let mut is_direct = fcntl_setfl(file, flags | OFlags::DIRECT).is_ok();
    for Piece { offset, mut bytes } in pieces {
        let wrote = file.write_all_at(bytes.as_slice(), offset);
        // some file systems refuse only the first direct write
        if is_direct && wrote.as_ref().is_err_and(is_refusal) {
            is_direct = false;
            fcntl_setfl(file, flags)?;
            file.write_all_at(bytes.as_slice(), offset)?;
        } else {
            wrote?;
        }
        bytes.clear();
        drop(give_back.try_send(bytes));
    }
    Ok(fcntl_setfl(file, flags)?)
}

fn is_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput
}

impl Output {
    /// Puts whole blocks at an offset. A failed write ends the writing; it is
    /// told at the end.
    pub(super) fn put(&mut self, offset: u64, blocks: &[u8]) {
        if offset != self.end() {
            self.flush();
            self.offset = offset;
        }
        let mut left = blocks;
        while let Some(bytes) = &mut self.bytes
            && !left.is_empty()
        {
            left = bytes.fill(left);
            if bytes.is_full() {
                self.flush();
            }
        }
    }

    /// Whether a write has failed, so that going on is pointless.
    pub(super) const fn is_broken(&self) -> bool {
        self.bytes.is_none()
    }

    /// Bytes handed on to be written.
    pub(super) const fn written(&self) -> u64 {
        self.written
    }

    fn end(&self) -> u64 {
        let pending = self
            .bytes
            .as_ref()
            .map_or(0, |bytes| bytes.as_slice().len());
        self.offset + pending as u64
    }

    /// Hands on what is pending.
    fn flush(&mut self) {
        let end = self.end();
        let Some(mut bytes) = self.bytes.take_if(|bytes| !bytes.as_slice().is_empty()) else {
            return;
        };
        let Some(pieces) = &self.pieces else {
            bytes.clear();
            self.bytes = Some(bytes);
            self.offset = end;
            return;
        };
        self.written += end - self.offset;
        let offset = std::mem::replace(&mut self.offset, end);
        drop(pieces.send(Piece { offset, bytes }));
        self.bytes = self.spare.recv().ok();
    }
}

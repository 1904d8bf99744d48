//! The digests of several streams, of two at a time.
//!
//! A block's rounds wait for one another, those of two streams do not: a
//! processor with instructions for SHA-256 does a third more when it is given
//! blocks of two streams by turns. Invariants: a stream's chunks come in order;
//! no more than [`HELD`] of them wait for those of another stream.
//! Entry points: [`hash_streams`], [`ToHash`].

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender},
    },
};

use sha2::block_api::compress256;

use super::budget::Chunk;
use crate::domain::Digest;

/// Chunks of a stream that may wait. Less than a stream that is read may
/// always have, which would wait for them otherwise.
const HELD: usize = 2;
/// Bytes of a block.
const BLOCK: usize = 64;
/// The state before the first block (FIPS 180-4, 5.3.3).
const START: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// What becomes of a stream.
pub(super) enum ToHash {
    /// Its next bytes.
    Chunk(usize, Arc<Chunk>),
    /// There are no more; the digest is wanted.
    End(usize, SyncSender<Digest>),
}

/// Those that did not end yet, by number.
type Streams = BTreeMap<usize, Stream>;

/// Hashes what comes, until nobody sends any more.
pub(super) fn hash_streams(messages: &Receiver<ToHash>) {
    let mut streams: Streams = BTreeMap::new();
    for message in messages {
        match message {
            ToHash::Chunk(number, chunk) => {
                let stream = streams.entry(number).or_default();
                stream.waiting.push_back(chunk);
            }
            ToHash::End(number, reply) => {
                let stream = streams.remove(&number).unwrap_or_default();
                // whoever asked may have given up
                reply.send(stream.finish()).ok();
            }
        }
        hash_waiting(&mut streams);
    }
}

/// A stream being hashed.
#[derive(Default)]
struct Stream {
    waiting: VecDeque<Arc<Chunk>>,
    hash: Sha256,
}

impl Stream {
    fn hash_next(&mut self) {
        if let Some(chunk) = self.waiting.pop_front() {
            self.hash.update(chunk.filled());
        }
    }

    fn hash_next_with(&mut self, other: &mut Self) {
        if let (Some(one), Some(two)) = (self.waiting.pop_front(), other.waiting.pop_front()) {
            let (left, right) = (&mut self.hash, &mut other.hash);
            left.update_with(one.filled(), right, two.filled());
        }
    }

    fn finish(mut self) -> Digest {
        while !self.waiting.is_empty() {
            self.hash_next();
        }
        self.hash.finish()
    }
}

/// Hashes chunks of two streams together, and those of one that would wait for
/// too long.
fn hash_waiting(streams: &mut Streams) {
    loop {
        let with_chunks = |stream: &&mut Stream| !stream.waiting.is_empty();
        let mut ready = streams.values_mut().filter(with_chunks);
        match (ready.next(), ready.next()) {
            (Some(one), Some(other)) => one.hash_next_with(other),
            (Some(one), None) if HELD < one.waiting.len() => one.hash_next(),
            _ => return,
        }
    }
}

/// SHA-256 (FIPS 180-4) of one stream, over the blocks of [`sha2`].
struct Sha256 {
    state: [u32; 8],
    length: u64,
    /// What does not fill a block yet.
    rest: Vec<u8>,
}

impl Default for Sha256 {
    fn default() -> Self {
        Self {
            state: START,
            length: 0,
            rest: Vec::with_capacity(BLOCK),
        }
    }
}

impl Sha256 {
    fn update(&mut self, bytes: &[u8]) {
        let (blocks, rest) = self.blocks(bytes);
        compress256(&mut self.state, blocks);
        self.rest.extend_from_slice(rest);
    }

    /// Hashes bytes of this stream and of another one.
    fn update_with(&mut self, bytes: &[u8], other: &mut Self, others: &[u8]) {
        let (blocks, rest) = self.blocks(bytes);
        let (others_blocks, others_rest) = other.blocks(others);
        for (block, others_block) in blocks.iter().zip(others_blocks) {
            compress256(&mut self.state, std::slice::from_ref(block));
            compress256(&mut other.state, std::slice::from_ref(others_block));
        }
        let both = blocks.len().min(others_blocks.len());
        compress256(&mut self.state, &blocks[both..]);
        compress256(&mut other.state, &others_blocks[both..]);
        self.rest.extend_from_slice(rest);
        other.rest.extend_from_slice(others_rest);
    }

    /// The whole blocks that come next, and what is behind them. What did not
    /// fill a block before is hashed first.
    fn blocks<'b>(&mut self, mut bytes: &'b [u8]) -> (&'b [[u8; BLOCK]], &'b [u8]) {
        self.length += bytes.len() as u64;
        if !self.rest.is_empty() {
            let missing = (BLOCK - self.rest.len()).min(bytes.len());
            let (now, later) = bytes.split_at(missing);
            self.rest.extend_from_slice(now);
            bytes = later;
            self.compress_rest();
        }
        bytes.as_chunks()
    }

    /// Hashes the rest where it is a block.
    fn compress_rest(&mut self) {
        let (blocks, rest) = self.rest.as_chunks();
        compress256(&mut self.state, blocks);
        let whole = self.rest.len() - rest.len();
        self.rest.drain(..whole);
    }

    fn finish(mut self) -> Digest {
        // a bit, zeros, and the length in bits at the end of a block (5.1.1)
        let bits = self.length.wrapping_mul(8);
        self.rest.push(0x80);
        let end = (self.rest.len() + size_of_val(&bits)).next_multiple_of(BLOCK);
        self.rest.resize(end - size_of_val(&bits), 0);
        self.rest.extend_from_slice(&bits.to_be_bytes());
        self.compress_rest();
        let mut digest = [0; 32];
        for (bytes, word) in digest.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        Digest::from_bytes(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::budget::{Budget, CHUNK},
        *,
    };

    /// Bytes of a stream.
    fn content(seed: usize, length: usize) -> Vec<u8> {
        let byte = |at: usize| u8::try_from((at * 31 + seed * 7 + at / 251) % 256).unwrap();
        (0..length).map(byte).collect()
    }

    fn chunk(budget: &Arc<Budget>, stream: usize, bytes: &[u8]) -> Arc<Chunk> {
        let mut chunk = budget.take(stream).unwrap();
        chunk.buffer()[..bytes.len()].copy_from_slice(bytes);
        chunk.length = bytes.len();
        Arc::new(chunk)
    }

    #[test]
    fn streams_have_the_digests_they_have_alone() {
        let budget = Budget::new(64 * CHUNK as u64, 2);
        let cuts: [&[usize]; 6] = [
            &[],
            &[0, 1, 0],
            &[55, 1, 8, 56],
            &[64, 64, 64, 63],
            &[4096, 4096, 1000],
            &[130, 7, 119, 64, 3],
        ];
        for (first, second) in (0..6).flat_map(|one| (0..6).map(move |two| (one, two))) {
            let mut streams = Streams::new();
            let mut contents = [Vec::new(), Vec::new()];
            for turn in 0..5 {
                for (number, cut) in [cuts[first], cuts[second]].into_iter().enumerate() {
                    let stream = streams.entry(number).or_default();
                    let bytes = content(number + turn, cut.get(turn).copied().unwrap_or(0));
                    stream.waiting.push_back(chunk(&budget, number, &bytes));
                    contents[number].extend(bytes);
                    hash_waiting(&mut streams);
                }
            }
            for (number, content) in contents.iter().enumerate() {
                let digest = streams.remove(&number).unwrap().finish();
                assert_eq!(digest, Digest::of(content), "{first} {second}");
            }
        }
    }

    #[test]
    fn no_more_waits_than_may() {
        let budget = Budget::new(64 * CHUNK as u64, 8);
        let mut streams = Streams::new();
        for _ in 0..9 {
            let waiting = &mut streams.entry(7).or_default().waiting;
            waiting.push_back(chunk(&budget, 7, &[1; 64]));
            hash_waiting(&mut streams);
            assert!(streams[&7].waiting.len() <= HELD);
        }
    }
}

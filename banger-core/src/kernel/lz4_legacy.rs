//! LZ4's legacy form: a magic number, then blocks of at most 8 MiB each,
//! every one led by its compressed length (LZ4 frame format, "Legacy frame";
//! Linux `lib/decompress_unlz4.c`).

use std::io::{self, Read};

const MAGIC: u32 = 0x184c_2102;
/// What a block inflates to at most.
const BLOCK_LIMIT: usize = 8 << 20;
/// The longest a block may be in the stream: LZ4's bound for incompressible data.
const PACKED_LIMIT: usize = BLOCK_LIMIT + BLOCK_LIMIT / 255 + 16;

/// The inflated content of a legacy LZ4 stream.
pub(crate) struct Lz4Legacy<R> {
    source: R,
    started: bool,
    packed: Vec<u8>,
    block: Vec<u8>,
    position: usize,
    end: usize,
}

impl<R: Read> Lz4Legacy<R> {
    pub(crate) const fn new(source: R) -> Self {
        Self {
            source,
            started: false,
            packed: Vec::new(),
            block: Vec::new(),
            position: 0,
            end: 0,
        }
    }

    /// Inflates the next block; false at the stream's end.
    fn next_block(&mut self) -> io::Result<bool> {
        let Some(length) = self.next_length()? else {
            return Ok(false);
        };
        self.packed.resize(length, 0);
        self.source.read_exact(&mut self.packed)?;
        self.block.resize(BLOCK_LIMIT, 0);
        self.end = lz4_flex::block::decompress_into(&self.packed, &mut self.block)
            .map_err(|error| malformed(&error.to_string()))?;
        self.position = 0;
        Ok(true)
    }

    /// The next block's length; streams may be joined, so the magic number
    /// may come again where a length is due.
    fn next_length(&mut self) -> io::Result<Option<usize>> {
        let word = read_word(&mut self.source)?;
        let word = match (word, self.started) {
            (Some(MAGIC), _) => {
                self.started = true;
                read_word(&mut self.source)?
            }
            (_, false) => return Err(malformed("it does not start with its magic number")),
            (word, true) => word,
        };
        let length = word.map(|word| usize::try_from(word).unwrap_or(usize::MAX));
        match length {
            None => Ok(None),
            Some(0) => Err(malformed("a block is empty")),
            Some(length) if PACKED_LIMIT < length => {
                Err(malformed("a block is longer than any can be"))
            }
            length => Ok(length),
        }
    }
}

impl<R: Read> Read for Lz4Legacy<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position == self.end {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let read = (&self.block[self.position..self.end]).read(buffer)?;
        self.position += read;
        Ok(read)
    }
}

/// A little-endian word; none at the source's end, an error in its middle.
fn read_word(source: &mut impl Read) -> io::Result<Option<u32>> {
    let mut word = Vec::with_capacity(4);
    source.take(4).read_to_end(&mut word)?;
    match word.try_into() {
        Ok(word) => Ok(Some(u32::from_le_bytes(word))),
        Err(cut) if Vec::is_empty(&cut) => Ok(None),
        Err(_) => Err(malformed("it ends early")),
    }
}

fn malformed(problem: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the LZ4 stream is damaged: {problem}"),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(blocks: &[&[u8]]) -> Vec<u8> {
        let mut stream = MAGIC.to_le_bytes().to_vec();
        for block in blocks {
            let block = lz4_flex::block::compress(block);
            stream.extend(u32::try_from(block.len()).unwrap().to_le_bytes());
            stream.extend(block);
        }
        stream
    }

    fn read_all(stream: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        Lz4Legacy::new(stream).read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn blocks_and_joined_streams_come_back() {
        let large = vec![7; BLOCK_LIMIT];
        let mut stream = packed(&[&large, b"tail"]);
        stream.extend(packed(&[b"more"]));
        let content = read_all(&stream).unwrap();
        assert_eq!(content.len(), BLOCK_LIMIT + 8);
        assert_eq!(&content[BLOCK_LIMIT..], b"tailmore");
    }

    #[test]
    fn cut_and_oversized_blocks_are_refused() {
        let stream = packed(&[b"content content content"]);
        for length in [0, 3, 5, 7, 9, stream.len() - 1] {
            assert!(
                read_all(&stream[..length]).is_err(),
                "{length} bytes passed"
            );
        }
        let mut claims = MAGIC.to_le_bytes().to_vec();
        claims.extend(u32::MAX.to_le_bytes());
        assert!(
            read_all(&claims)
                .unwrap_err()
                .to_string()
                .contains("longer")
        );
        let too_large = packed(&[&vec![0; BLOCK_LIMIT + 1]]);
        assert!(read_all(&too_large).is_err());
    }

    proptest! {
        #[test]
        fn damaged_streams_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut stream = MAGIC.to_le_bytes().to_vec();
            stream.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
            stream.extend(bytes);
            drop(read_all(&stream));
        }
    }
}

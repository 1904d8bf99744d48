//! LZO1X in lzop's container, as Linux packs kernels with it.
//!
//! Purpose: inflate such a stream block by block. Invariants: a block inflates
//! to exactly what its header claims, at most 256 KiB; no byte outside the
//! block or its input is touched. Checksums are not verified: the inflated
//! kernel's length and form are.
//! Entry points: [`Lzop`], [`decompress`].
//! Sources: Linux `Documentation/staging/lzo.rst` (the instructions),
//! `lib/decompress_unlzo.c` (the container).

use std::io::{self, Read};

/// What a block inflates to at most (lzop's block size; Linux takes no other).
const BLOCK_LIMIT: usize = 256 << 10;
const MAGIC: &[u8; 9] = b"\x89LZO\0\r\n\x1a\n";
/// From this lzop version on the header has a level and a 64-bit time.
const LEVEL_SINCE: u16 = 0x0940;
const FLAG_FILTER: u32 = 0x800;
/// Checksums of a block's inflated form: Adler-32, CRC-32.
const FLAGS_PLAIN_CHECKSUMS: [u32; 2] = [0x1, 0x100];
/// Checksums of a block's packed form, absent when it is stored.
const FLAGS_PACKED_CHECKSUMS: [u32; 2] = [0x2, 0x200];

/// The inflated content of an lzop stream.
pub(crate) struct Lzop<R> {
    source: R,
    flags: Option<u32>,
    block: Vec<u8>,
    position: usize,
    ended: bool,
}

impl<R: Read> Lzop<R> {
    pub(crate) const fn new(source: R) -> Self {
        Self {
            source,
            flags: None,
            block: Vec::new(),
            position: 0,
            ended: false,
        }
    }

    fn next_block(&mut self) -> io::Result<()> {
        let flags = self.flags()?;
        let length = self.length()?;
        if length == 0 {
            self.ended = true;
            return Ok(());
        }
        let packed_length = self.length()?;
        if BLOCK_LIMIT < length || length < packed_length {
            return Err(malformed("a block's lengths cannot be"));
        }
        let stored = packed_length == length;
        self.skip_checksums(flags, FLAGS_PLAIN_CHECKSUMS)?;
        if !stored {
            self.skip_checksums(flags, FLAGS_PACKED_CHECKSUMS)?;
        }
        let mut packed = vec![0; packed_length];
        self.source.read_exact(&mut packed)?;
        self.block = if stored {
            packed
        } else {
            decompress(&packed, length)?
        };
        self.position = 0;
        Ok(())
    }

    fn flags(&mut self) -> io::Result<u32> {
        if let Some(flags) = self.flags {
            return Ok(flags);
        }
        let flags = read_header(&mut self.source)?;
        self.flags = Some(flags);
        Ok(flags)
    }

    fn length(&mut self) -> io::Result<usize> {
        let length = u32::from_be_bytes(read_array(&mut self.source)?);
        Ok(usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn skip_checksums(&mut self, flags: u32, kinds: [u32; 2]) -> io::Result<()> {
        for _ in kinds.iter().filter(|kind| flags & **kind != 0) {
            read_array::<4>(&mut self.source)?;
        }
        Ok(())
    }
}

impl<R: Read> Read for Lzop<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position == self.block.len() && !self.ended {
            self.next_block()?;
        }
        let read = (&self.block[self.position..]).read(buffer)?;
        self.position += read;
        Ok(read)
    }
}

/// Reads the container's header and answers its flags.
fn read_header(source: &mut impl Read) -> io::Result<u32> {
    if &read_array::<9>(source)? != MAGIC {
        return Err(malformed("it does not start with its magic number"));
    }
    let version = u16::from_be_bytes(read_array(source)?);
    let has_level = LEVEL_SINCE <= version;
    // versions of the library and of the reader needed, method, level
    skip(source, if has_level { 6 } else { 5 })?;
    let flags = u32::from_be_bytes(read_array(source)?);
    let filter = if flags & FLAG_FILTER == 0 { 0 } else { 4 };
    // filter, mode, time
    skip(source, filter + if has_level { 12 } else { 8 })?;
    let [name_length] = read_array(source)?;
    // name, checksum of the header
    skip(source, u64::from(name_length) + 4)?;
    Ok(flags)
}

fn read_array<const N: usize>(source: &mut impl Read) -> io::Result<[u8; N]> {
    let mut array = [0; N];
    source.read_exact(&mut array)?;
    Ok(array)
}

fn skip(source: &mut impl Read, length: u64) -> io::Result<()> {
    let skipped = io::copy(&mut source.take(length), &mut io::sink())?;
    if skipped < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// Inflates one LZO1X block that must come to exactly `length` bytes.
pub(crate) fn decompress(packed: &[u8], length: usize) -> io::Result<Vec<u8>> {
    let mut decoder = Decoder {
        input: packed,
        output: Vec::with_capacity(length.min(BLOCK_LIMIT)),
        limit: length,
    };
    decoder.run()?;
    if decoder.output.len() != length {
        return Err(malformed("a block is shorter than it claims"));
    }
    Ok(decoder.output)
}

struct Decoder<'a> {
    input: &'a [u8],
    output: Vec<u8>,
    limit: usize,
}

/// A copy of earlier output, then of literals.
struct Match {
    distance: usize,
    length: usize,
    literals: usize,
}

/// What the instruction before leaves for the meaning of the next one below
/// 16: the literals it copied, or a run of four and more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    NoLiterals,
    FewLiterals,
    LiteralRun,
}

impl Decoder<'_> {
    fn run(&mut self) -> io::Result<()> {
        let mut state = self.first_literals()?;
        loop {
            let code = usize::from(self.byte()?);
            let step = match code {
                0..=15 if state == State::NoLiterals => {
                    let run = self.extended(code, 15)? + 3;
                    self.literals(run)?;
                    state = State::LiteralRun;
                    continue;
                }
                0..=15 => self.short_match(code, state)?,
                16..=31 => match self.far_match(code)? {
                    Some(step) => step,
                    None => return Ok(()),
                },
                32..=63 => self.middle_match(code)?,
                _ => self.near_match(code)?,
            };
            self.repeat(&step)?;
            self.literals(step.literals)?;
            state = state_after(step.literals);
        }
    }

    /// A first byte above 17 stands for literals alone.
    fn first_literals(&mut self) -> io::Result<State> {
        match self.input.first() {
            Some(&first) if 17 < first => {
                self.byte()?;
                let count = usize::from(first) - 17;
                self.literals(count)?;
                Ok(if count < 4 {
                    State::FewLiterals
                } else {
                    State::LiteralRun
                })
            }
            _ => Ok(State::NoLiterals),
        }
    }

    fn short_match(&mut self, code: usize, state: State) -> io::Result<Match> {
        let (base, length) = match state {
            State::LiteralRun => (0x801, 3),
            _ => (1, 2),
        };
        Ok(Match {
            distance: base + (code >> 2) + (usize::from(self.byte()?) << 2),
            length,
            literals: code & 3,
        })
    }

    /// A match beyond 16 KiB; none is the end of the block.
    fn far_match(&mut self, code: usize) -> io::Result<Option<Match>> {
        let length = self.extended(code & 7, 7)? + 2;
        let low = self.word()?;
        let distance = ((code & 8) << 11) + (low >> 2);
        Ok((distance != 0).then_some(Match {
            distance: distance + 0x4000,
            length,
            literals: low & 3,
        }))
    }

    fn middle_match(&mut self, code: usize) -> io::Result<Match> {
        let length = self.extended(code & 31, 31)? + 2;
        let low = self.word()?;
        Ok(Match {
            distance: 1 + (low >> 2),
            length,
            literals: low & 3,
        })
    }

    fn near_match(&mut self, code: usize) -> io::Result<Match> {
        Ok(Match {
            distance: 1 + ((code >> 2) & 7) + (usize::from(self.byte()?) << 3),
            length: (code >> 5) + 1,
            literals: code & 3,
        })
    }

    /// A length that goes on in further bytes when its field is zero.
    fn extended(&mut self, field: usize, base: usize) -> io::Result<usize> {
        if field != 0 {
            return Ok(field);
        }
        let mut length = base;
        loop {
            let byte = usize::from(self.byte()?);
            if byte != 0 {
                return Ok(length + byte);
            }
            length += 255;
            if self.limit < length {
                return Err(malformed("a run is longer than its block"));
            }
        }
    }

    fn byte(&mut self) -> io::Result<u8> {
        let (byte, rest) = self.input.split_first().ok_or_else(cut)?;
        self.input = rest;
        Ok(*byte)
    }

    fn word(&mut self) -> io::Result<usize> {
        Ok(usize::from(self.byte()?) | usize::from(self.byte()?) << 8)
    }

    fn literals(&mut self, count: usize) -> io::Result<()> {
        self.reserve(count)?;
        let (run, rest) = self.input.split_at_checked(count).ok_or_else(cut)?;
        self.output.extend(run);
        self.input = rest;
        Ok(())
    }

    /// Copies earlier output; source and target may overlap.
    fn repeat(&mut self, step: &Match) -> io::Result<()> {
        self.reserve(step.length)?;
        let start = self.output.len().checked_sub(step.distance);
        let start = start.ok_or_else(|| malformed("a match starts before its block"))?;
        for position in start..start + step.length {
            self.output.push(self.output[position]);
        }
        Ok(())
    }

    fn reserve(&self, count: usize) -> io::Result<()> {
        if self.limit - self.output.len() < count {
            return Err(malformed("a block is longer than it claims"));
        }
        Ok(())
    }
}

const fn state_after(literals: usize) -> State {
    if literals == 0 {
        State::NoLiterals
    } else {
        State::FewLiterals
    }
}

fn cut() -> io::Error {
    malformed("a block ends early")
}

fn malformed(problem: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the LZO stream is damaged: {problem}"),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What `lzop -9` makes of [`text`].
    const PACKED: &str = concat!(
        "894c5a4f000d0a1a0a104020a0094003090300000d000000006b045f12000000000026b202560000",
        "022b000000f13ffa93a91d6c696e652030206f6620300a8f01383536750131b701373033750132b6",
        "013535850533b701333937750134b701323434750135b6013931710136d201343729830137393429",
        "83013634312983013438382a8201333529830131383229820132392983013838352a820133322983",
        "013537392a820132362983013237332a820132302a060337362a860132332987013637302a860131",
        "372987013336342a8601313129860135382b8904342983013736312a820130382983013435352a82",
        "0130322983013134392a0b03303035298b01383532298b01363939298a0135342a9e0733392a9e07",
        "32342a9d0738d83c11000000000000",
    );

    fn text() -> Vec<u8> {
        let mut text = Vec::new();
        for line in 0..40_u32 {
            text.extend(format!("line {} of {}\n", line * 7919 % 1009, line % 7).bytes());
        }
        text
    }

    fn read_all(stream: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        Lzop::new(stream).read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn a_stream_of_the_real_tool_comes_back() {
        let stream = hex::decode(PACKED).unwrap();
        assert_eq!(read_all(&stream).unwrap(), text());
        for length in [0, 8, 30, 60, stream.len() / 2, stream.len() - 1] {
            assert!(
                read_all(&stream[..length]).is_err(),
                "{length} bytes passed"
            );
        }
    }

    #[test]
    fn a_match_outside_its_block_is_refused() {
        // one literal, then a match 2049 bytes back
        let error = decompress(&[18, b'a', 0x40, 0xff, 17, 0, 0], 4).unwrap_err();
        assert!(error.to_string().contains("before its block"), "{error}");
        // a literal run that goes on for ever
        assert!(decompress(&[0; 1000], 100).is_err());
    }

    proptest! {
        #[test]
        fn damaged_streams_never_panic(position: usize, value: u8) {
            let mut stream = hex::decode(PACKED).unwrap();
            let position = position % stream.len();
            stream[position] = value;
            drop(read_all(&stream));
        }

        #[test]
        fn any_block_is_safe(packed in proptest::collection::vec(any::<u8>(), 0..300)) {
            drop(decompress(&packed, 1000));
        }
    }
}

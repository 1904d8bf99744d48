//! Tar streams of which most headers are right: bytes alone hardly ever get
//! past a header's checksum.

use arbitrary::Arbitrary;

const BLOCK: usize = 512;
const TYPES: &[u8] = b"0123456789gxLKSV\0Z";
const NAMES: [&str; 12] = [
    "a",
    "b",
    "a/b",
    "a/b/c",
    "./a",
    "/b",
    "a/.wh.b",
    ".wh.a",
    "a/.wh..wh..opq",
    "..",
    "a/",
    "l",
];

/// A part of a stream.
#[derive(Arbitrary, Debug)]
pub(crate) enum Piece {
    Raw(Vec<u8>),
    Member(Member),
}

#[derive(Arbitrary, Debug)]
pub(crate) struct Member {
    kind: u8,
    name: Name,
    target: Name,
    mode: u16,
    owner: u32,
    time: u32,
    /// What the header claims, where it is not the content's length.
    claim: Option<u64>,
    content: Content,
}

#[derive(Arbitrary, Debug)]
enum Name {
    Usual(u8),
    Any(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
enum Content {
    Bytes(Vec<u8>),
    /// One byte, many times.
    Run(u8, u16),
    /// Records of an extended header.
    Records(Vec<(Key, Vec<u8>)>),
}

#[derive(Arbitrary, Debug)]
enum Key {
    Usual(u8),
    Any(Vec<u8>),
}

const KEYS: [&str; 14] = [
    "path",
    "linkpath",
    "size",
    "uid",
    "gid",
    "mtime",
    "GNU.sparse.major",
    "GNU.sparse.minor",
    "GNU.sparse.map",
    "GNU.sparse.realsize",
    "GNU.sparse.name",
    "SCHILY.xattr.user.a",
    "SCHILY.xattr.security.capability",
    "SCHILY.xattr.system.posix_acl_access",
];

/// The bytes of a stream.
pub(crate) fn render(pieces: &[Piece]) -> Vec<u8> {
    let mut stream = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Raw(bytes) => stream.extend_from_slice(bytes),
            Piece::Member(member) => member.render(&mut stream),
        }
    }
    stream
}

impl Member {
    fn render(&self, stream: &mut Vec<u8>) {
        let content = self.content.bytes();
        let mut header = [0_u8; BLOCK];
        put(&mut header[..100], &self.name.bytes());
        octal(&mut header[100..108], u64::from(self.mode));
        octal(&mut header[108..116], u64::from(self.owner));
        octal(&mut header[116..124], u64::from(self.owner));
        octal(
            &mut header[124..136],
            self.claim.unwrap_or(content.len() as u64),
        );
        octal(&mut header[136..148], u64::from(self.time));
        header[156] = TYPES[usize::from(self.kind) % TYPES.len()];
        put(&mut header[157..257], &self.target.bytes());
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        octal(&mut header[148..155], u64::from(sum));
        stream.extend_from_slice(&header);
        stream.extend_from_slice(&content);
        stream.resize(stream.len().next_multiple_of(BLOCK), 0);
    }
}

impl Name {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Usual(number) => NAMES[usize::from(*number) % NAMES.len()].into(),
            Self::Any(bytes) => bytes.clone(),
        }
    }
}

impl Content {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Run(byte, length) => vec![*byte; usize::from(*length)],
            Self::Records(records) => records.iter().flat_map(record).collect(),
        }
    }
}

/// A pax record: its own length, a key and a value.
fn record((key, value): &(Key, Vec<u8>)) -> Vec<u8> {
    let key = match key {
        Key::Usual(number) => KEYS[usize::from(*number) % KEYS.len()].as_bytes(),
        Key::Any(bytes) => bytes,
    };
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    let mut record = format!("{length} ").into_bytes();
    record.extend_from_slice(key);
    record.push(b'=');
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

fn put(field: &mut [u8], bytes: &[u8]) {
    let length = field.len().min(bytes.len());
    field[..length].copy_from_slice(&bytes[..length]);
}

fn octal(field: &mut [u8], number: u64) {
    let digits = field.len() - 1;
    let text = format!("{number:0digits$o}");
    put(
        &mut field[..digits],
        &text.as_bytes()[text.len() - digits..],
    );
}

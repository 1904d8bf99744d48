//! One right member of a tar stream.

const BLOCK: usize = 512;

/// A regular file in a tar stream. A name has at most 100 bytes.
pub(crate) fn member(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; BLOCK];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
    let mut stream = [&header, content].concat();
    stream.resize(stream.len().next_multiple_of(BLOCK), 0);
    stream
}

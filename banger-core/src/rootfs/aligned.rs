//! Buffers for direct writes.

/// What the start, the length and the place of a direct write are multiples
/// of: no device has larger logical blocks than the file system's (open(2),
/// `O_DIRECT`).
const ALIGNMENT: usize = 4096;

/// Bytes whose start is aligned. It never grows beyond its capacity.
pub(super) struct AlignedBuffer {
    bytes: Vec<u8>,
    start: usize,
    capacity: usize,
}

impl AlignedBuffer {
    /// Empty, with room for `capacity` bytes.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        let mut bytes: Vec<u8> = Vec::with_capacity(capacity + ALIGNMENT);
        let start = bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        bytes.resize(start, 0);
        Self {
            bytes,
            start,
            capacity,
        }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(super) fn clear(&mut self) {
        self.bytes.truncate(self.start);
    }

    /// Takes as many bytes as fit and answers the rest.
    pub(super) fn fill<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let room = self.capacity - self.as_slice().len();
        let (now, later) = bytes.split_at(room.min(bytes.len()));
        self.bytes.extend_from_slice(now);
        later
    }

    pub(super) fn is_full(&self) -> bool {
        self.as_slice().len() == self.capacity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_aligned_however_often_they_are_filled() {
        let mut buffer = AlignedBuffer::with_capacity(10);
        for _ in 0..3 {
            assert_eq!(buffer.fill(b"0123456789abc"), b"abc");
            assert!(buffer.is_full());
            assert_eq!(buffer.as_slice(), b"0123456789");
            assert_eq!(buffer.as_slice().as_ptr().align_offset(ALIGNMENT), 0);
            buffer.clear();
            assert!(buffer.as_slice().is_empty());
        }
    }
}

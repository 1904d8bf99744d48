//! What was read of a file and what a server may still need of it. Pure.
//!
//! Invariants: the pieces follow one another without a gap; only as many are held as
//! there is room for. Entry points: [`Window`].

use std::collections::VecDeque;

use bytes::Bytes;

/// Bytes that are held before more are read.
const ROOM: u64 = 4 << 20;

/// The last bytes that were read.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Where the first piece begins.
    start: u64,
    pieces: VecDeque<Bytes>,
    /// Where the last piece ends.
    end: u64,
}

impl Window {
    /// Where what was read ends.
    pub(super) const fn end(&self) -> u64 {
        self.end
    }

    /// Whether more may be read.
    pub(super) const fn has_room(&self) -> bool {
        self.end - self.start < ROOM
    }

    /// Adds what comes next.
    pub(super) fn push(&mut self, piece: Bytes) {
        self.end += piece.len() as u64;
        if !piece.is_empty() {
            self.pieces.push_back(piece);
        }
    }

    /// Lets go of what is before `kept`.
    pub(super) fn keep(&mut self, kept: u64) {
        while let Some(first) = self.pieces.front() {
            let next = self.start + first.len() as u64;
            if kept < next {
                return;
            }
            self.start = next;
            self.pieces.pop_front();
        }
    }

    /// Whether all that comes after `position` was not let go of, or comes still.
    pub(super) const fn reaches(&self, position: u64) -> bool {
        self.start <= position && position <= self.end
    }

    /// What is at `position`; none at the end of what was read.
    pub(super) fn after(&self, position: u64) -> Option<Bytes> {
        let mut at = self.start;
        for piece in &self.pieces {
            let next = at + piece.len() as u64;
            if position < next {
                let within = usize::try_from(position.checked_sub(at)?).ok()?;
                return Some(piece.slice(within..));
            }
            at = next;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_kept_is_there_again() {
        let mut window = Window::default();
        assert!(window.reaches(0) && window.after(0).is_none());
        for piece in ["abc", "", "de", "f"] {
            window.push(Bytes::from_static(piece.as_bytes()));
        }
        assert_eq!(window.end(), 6);
        assert_eq!(window.after(0).unwrap(), "abc");
        assert_eq!(window.after(1).unwrap(), "bc");
        assert_eq!(window.after(5).unwrap(), "f");
        assert_eq!(window.after(6), None);
        window.keep(2);
        assert!(window.reaches(2) && !window.reaches(7));
        window.keep(4);
        assert!(window.reaches(4) && !window.reaches(2));
        assert_eq!(window.after(4).unwrap(), "e");
        assert_eq!(window.after(2), None);
        window.keep(6);
        assert!(window.reaches(6) && window.after(6).is_none());
    }

    #[test]
    fn no_more_is_held_than_there_is_room_for() {
        let mut window = Window::default();
        while window.has_room() {
            window.push(Bytes::from(vec![0; 65_536]));
        }
        assert_eq!(window.end(), ROOM);
        window.keep(65_536);
        assert!(window.has_room());
    }
}

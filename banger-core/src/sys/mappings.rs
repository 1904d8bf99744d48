//! Letting go of mapped parts of programs.
//!
//! A process that starts maps parts of its program and libraries that it never
//! looks at again, and the kernel maps whole neighbourhoods of them. They count
//! as its memory for as long as it lives. Invariants: only pages are let go of
//! that are the file's own, unchanged: each is mapped again, from the page
//! cache, when it is looked at. Entry points: [`let_go_of_programs`].

use std::{ffi::c_void, fs, io, ptr};

use rustix::mm::{Advice, madvise};

/// A part of a file that is mapped, and was never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapping {
    start: usize,
    length: usize,
}

/// Unmaps every page of the program and its libraries that is as its file has
/// it, until it is looked at again.
pub(crate) fn let_go_of_programs() -> io::Result<()> {
    let smaps = fs::read_to_string("/proc/self/smaps")?;
    for Mapping { start, length } in unchanged(&smaps) {
        let address: *mut c_void = ptr::with_exposed_provenance_mut(start);
        // SAFETY: the mapping is private, cannot be written to and has no page
        // of its own, so whatever is read in it is the file's content, before
        // and after. It is a program's or a library's, which nobody unmaps.
        unsafe { madvise(address, length, Advice::LinuxDontNeed) }?;
    }
    Ok(())
}

/// The private mappings of programs that cannot be written to and have no
/// changed page (proc(5), `/proc/pid/smaps`).
fn unchanged(smaps: &str) -> Vec<Mapping> {
    let mut found = Vec::new();
    let mut candidate = None;
    for line in smaps.lines() {
        if let Some((mapping, is_program)) = heading(line) {
            candidate = is_program.then_some(mapping);
        } else if line.starts_with("Anonymous:") {
            let is_unchanged = line.split_whitespace().nth(1) == Some("0");
            found.extend(candidate.take().filter(|_| is_unchanged));
        }
    }
    found
}

/// The mapping that a line begins, and whether it is a private one of a file
/// that cannot be written to: `start-end r-xp offset device inode path`.
fn heading(line: &str) -> Option<(Mapping, bool)> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let (start, end) = (address(start)?, address(end)?);
    let permissions = words.next()?;
    let is_of_file = words.nth(3).is_some_and(|path| path.starts_with('/'));
    let mapping = Mapping {
        start,
        length: end.saturating_sub(start),
    };
    Some((
        mapping,
        is_of_file && matches!(permissions, "r-xp" | "r--p"),
    ))
}

fn address(text: &str) -> Option<usize> {
    usize::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
1000-3000 r-xp 00000000 fe:00 12                 /usr/bin/banger
Rss:                   8 kB
Anonymous:             0 kB
VmFlags: rd ex mr
3000-4000 r--p 00002000 fe:00 12                 /usr/bin/banger
Anonymous:             4 kB
4000-5000 rw-p 00003000 fe:00 12                 /usr/bin/banger
Anonymous:             0 kB
5000-6000 r--p 00000000 00:00 0                  [vvar]
Anonymous:             0 kB
7000-8000 r--p 00000000 fe:00 13                 /usr/lib/libm.so.6
Anonymous:             0 kB
9000-a000 r--s 00000000 fe:00 14                 /s/banger.db-shm
Anonymous:             0 kB
";

    #[test]
    fn only_unchanged_parts_of_programs_are_let_go_of() {
        let mapping = |start, length| Mapping { start, length };
        assert_eq!(
            unchanged(SMAPS),
            [mapping(0x1000, 0x2000), mapping(0x7000, 0x1000)]
        );
        assert!(unchanged("").is_empty());
    }

    #[test]
    fn a_program_goes_on_without_what_it_let_go_of() {
        let before = unchanged(&fs::read_to_string("/proc/self/smaps").unwrap());
        assert!(!before.is_empty());
        let_go_of_programs().unwrap();
        let after = unchanged(&fs::read_to_string("/proc/self/smaps").unwrap());
        assert!(!after.is_empty());
    }
}

//! The parser of layers, fed with any bytes.
#![no_main]

mod tar_stream;

use banger_core::{
    layer::{Archive, EntryKind},
    rootfs::RootfsLimits,
};
use libfuzzer_sys::fuzz_target;

use tar_stream::{Piece, render};

fuzz_target!(|pieces: Vec<Piece>| {
    let stream = render(&pieces);
    let mut archive = Archive::new(stream.as_slice(), &RootfsLimits::default());
    while let Ok(Some(entry)) = archive.next_entry() {
        let mut length = 0;
        let read = archive.read_content(|bytes| length += bytes.len() as u64);
        if let (EntryKind::File(content), Ok(())) = (&entry.kind, read) {
            assert_eq!(length, content.stored);
            assert!(content.stored <= content.size);
        }
        assert!(archive.position() <= stream.len() as u64);
    }
});

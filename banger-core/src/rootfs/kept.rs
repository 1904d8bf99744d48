//! Content that newer layers hide, held for hard links behind it.
//!
//! A file whose name was replaced may have another one that shows: an upgrade
//! replaces Debian's `perl` and leaves `perl5.36.0`. To read such a layer again
//! costs as much as the layer, so that the last hidden contents are held until
//! their layer ends.
//!
//! Invariants: no more than [`MOST`] bytes are held; what is held depends on
//! the layers alone, not on memory or threads, and so do the disk's bytes.

use std::collections::VecDeque;

use crate::layer::{Content, LayerPath};

/// Most bytes held.
const MOST: u64 = 8 << 20;

/// Hidden files of the layers being read, those first that were read first.
#[derive(Debug, Default)]
pub(super) struct Kept {
    files: VecDeque<KeptFile>,
    bytes: u64,
}

/// A hidden file's content.
#[derive(Debug)]
pub(super) struct KeptFile {
    layer: usize,
    path: LayerPath,
    pub(super) content: Content,
    /// Its stored bytes.
    pub(super) bytes: Vec<u8>,
}

impl Kept {
    /// Makes room for a file's content, which is then to be filled in; none
    /// when it is too large.
    pub(super) fn add(
        &mut self,
        layer: usize,
        path: &LayerPath,
        content: &Content,
    ) -> Option<&mut Vec<u8>> {
        let length = usize::try_from(content.stored).ok()?;
        if MOST < content.stored {
            return None;
        }
        self.bytes += content.stored;
        while MOST < self.bytes {
            self.bytes -= self.files.pop_front()?.content.stored;
        }
        self.files.push_back(KeptFile {
            layer,
            path: path.clone(),
            content: content.clone(),
            bytes: Vec::with_capacity(length),
        });
        self.files.back_mut().map(|file| &mut file.bytes)
    }

    /// Takes the file out that was last at a layer's `path`.
    pub(super) fn take(&mut self, layer: usize, path: &LayerPath) -> Option<KeptFile> {
        let is_it = |file: &KeptFile| file.layer == layer && file.path == *path;
        let found = self.files.iter().rposition(is_it)?;
        let file = self.files.remove(found)?;
        self.bytes -= file.content.stored;
        Some(file)
    }

    /// Drops the files of a layer.
    pub(super) fn forget(&mut self, layer: usize) {
        self.files.retain(|file| file.layer != layer);
        self.bytes = self.files.iter().map(|file| file.content.stored).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::RootfsLimits;

    fn path(text: &str) -> LayerPath {
        LayerPath::parse(text.as_bytes(), &RootfsLimits::default()).unwrap()
    }

    fn content(offset: u64, stored: u64) -> Content {
        Content {
            offset,
            stored,
            size: stored,
            runs: None,
        }
    }

    #[test]
    fn the_oldest_make_room() {
        let mut kept = Kept::default();
        for (number, name) in ["a", "b", "c"].into_iter().enumerate() {
            assert!(
                kept.add(0, &path(name), &content(number as u64, MOST / 2))
                    .is_some()
            );
        }
        assert!(kept.take(0, &path("a")).is_none());
        assert!(kept.add(0, &path("d"), &content(3, MOST + 1)).is_none());
        assert_eq!(kept.take(0, &path("b")).unwrap().content.offset, 1);
        assert_eq!(kept.take(0, &path("c")).unwrap().content.offset, 2);
        assert_eq!(kept.bytes, 0);
    }

    #[test]
    fn a_path_is_what_was_last_there() {
        let mut kept = Kept::default();
        for offset in [1, 2] {
            let bytes = kept.add(0, &path("a"), &content(offset, 1)).unwrap();
            bytes.push(0);
        }
        assert!(kept.take(1, &path("a")).is_none(), "of another layer");
        assert_eq!(kept.take(0, &path("a")).unwrap().content.offset, 2);
        kept.forget(0);
        assert!(kept.take(0, &path("a")).is_none());
        assert_eq!(kept.bytes, 0);
    }
}

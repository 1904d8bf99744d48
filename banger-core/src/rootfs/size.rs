//! How large a disk shall be.

use super::RootfsError;
use crate::{domain::Bytes, ext4::BLOCK_SIZE, layer::claimed_length, oci::LayerBlob};

const DEFAULT_SMALLEST: u64 = Bytes::GIB;

/// The asked size in whole blocks, if that is enough; else, when none was
/// asked for, max(content x 1.25, 1 GiB), and never less than what is needed.
pub(super) fn chosen_size(
    asked: Option<Bytes>,
    content: u64,
    smallest: u64,
) -> Result<Bytes, RootfsError> {
    let Some(asked) = asked else {
        return Ok(default_size(content, smallest));
    };
    if asked.get() / BLOCK_SIZE * BLOCK_SIZE < smallest {
        return Err(RootfsError::TooSmall {
            size: asked,
            needed: Bytes::new(smallest),
        });
    }
    Ok(Bytes::new(asked.get() / BLOCK_SIZE * BLOCK_SIZE))
}

fn default_size(content: u64, smallest: u64) -> Bytes {
    let roomy = (content + content / 4).max(DEFAULT_SMALLEST);
    // a disk that is exactly full serves nobody: leave a tenth
    let needed = smallest + smallest / 10;
    Bytes::new(roomy.max(needed)).round_up_to(Bytes::MIB)
}

/// Whether layers that are what they claim to be fit a disk of that size for
/// certain: with all their headers, a quarter more, and the disk's own
/// structures. Holds up its thread until the layers are there.
pub(super) fn surely_fits(layers: &[LayerBlob], size: Bytes) -> bool {
    let claims = layers
        .iter()
        .map(|layer| claimed_length(layer).ok().flatten());
    let claimed = claims.sum::<Option<u64>>();
    claimed.is_some_and(|claimed| {
        let room = size.get() - size.get() / 8;
        claimed.saturating_add(claimed / 4) + 16 * Bytes::MIB <= room
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_has_room_unless_its_size_was_asked_for() {
        let chosen = |asked, content, smallest| {
            let asked: Option<u64> = asked;
            let chosen = chosen_size(asked.map(Bytes::new), content, smallest);
            chosen.map(Bytes::get).map_err(|error| error.to_string())
        };
        assert_eq!(chosen(None, 1000, 9 << 20), Ok(Bytes::GIB));
        assert_eq!(chosen(None, 4 * Bytes::GIB, 4 << 30), Ok(5 * Bytes::GIB));
        assert_eq!(
            chosen(None, 100, 10 * Bytes::GIB),
            Ok(11 * Bytes::GIB),
            "metadata may be most of it"
        );
        assert_eq!(chosen(Some(8193), 1, 8192), Ok(8192));
        let refused = chosen(Some(8191), 1, 8192).unwrap_err();
        assert!(refused.contains("too small"), "{refused}");
    }
}

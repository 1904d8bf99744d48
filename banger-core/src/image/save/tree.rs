//! A disk's tree as a tar stream.

use std::io::Write;

use tokio_util::sync::CancellationToken;

use super::{SaveError, tar};
use crate::{
    disk::{
        EntryType,
        volume::{Inode, Node, Volume, Walk},
    },
    layer::RootfsLimits,
};

/// How names begin that stand for a deletion in a layer (OCI image-spec,
/// `layer.md`).
const WHITEOUT: &[u8] = b".wh.";

/// Zeros that are written at once.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// A tree to be written.
pub(super) struct Tree<'a> {
    pub(super) volume: &'a Volume,
    pub(super) limits: &'a RootfsLimits,
    /// Whether readers take names for deletions.
    pub(super) is_layer: bool,
    pub(super) cancel: &'a CancellationToken,
}

/// What was met on the way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TreeSummary {
    pub(super) sockets: u64,
}

impl Tree<'_> {
    /// Writes all of it, to the end of the tar stream.
    pub(super) fn write(&self, output: &mut dyn Write) -> Result<TreeSummary, SaveError> {
        let mut summary = TreeSummary::default();
        let (mut entries, mut bytes) = (0, 0_u64);
        for node in Walk::new(self.volume) {
            let node = node?;
            entries += 1;
            bytes = bytes.saturating_add(tar::content(&node));
            self.check(entries, bytes)?;
            if node.inode.kind == EntryType::Socket {
                summary.sockets += 1;
                continue;
            }
            self.entry(&node, output)?;
        }
        tar::end(output).map_err(SaveError::Output)?;
        Ok(summary)
    }

    /// More than this no image may have.
    fn check(&self, entries: u64, bytes: u64) -> Result<(), SaveError> {
        if self.cancel.is_cancelled() {
            return Err(SaveError::Cancelled);
        }
        let layer = self.limits.layer_bytes;
        let limit = if self.limits.entries < entries {
            format!("{} entries", self.limits.entries)
        } else if layer.get() < bytes {
            layer.to_string()
        } else {
            return Ok(());
        };
        let disk = self.volume.path().to_owned();
        Err(SaveError::TooLarge { disk, limit })
    }

    fn entry(&self, node: &Node, output: &mut dyn Write) -> Result<(), SaveError> {
        let refused = |problem| self.refused(node, problem);
        let name = node.path.rsplit(|byte| *byte == b'/').next();
        if self.is_layer && name.is_some_and(|name| name.starts_with(WHITEOUT)) {
            return Err(refused("in a layer its name stands for a deletion"));
        }
        let target = match node.inode.kind {
            EntryType::Symlink => Some(self.volume.target(&node.inode)?),
            _ => None,
        };
        let attributes = self.volume.attributes(&node.inode)?;
        let headers = tar::headers(node, &attributes, target.as_deref()).map_err(refused)?;
        output.write_all(&headers).map_err(SaveError::Output)?;
        let length = tar::content(node);
        if length != 0 {
            self.content(&node.inode, output)?;
            tar::pad(output, length).map_err(SaveError::Output)?;
        }
        Ok(())
    }

    fn refused(&self, node: &Node, problem: &'static str) -> SaveError {
        SaveError::Unrepresentable {
            disk: self.volume.path().to_owned(),
            path: format!("/{}", node.path.escape_ascii()),
            problem,
        }
    }

    /// A file's bytes, holes as zeros.
    fn content(&self, inode: &Inode, output: &mut dyn Write) -> Result<(), SaveError> {
        let block = self.volume.block_size();
        let mut at = 0;
        for run in self.volume.runs(inode)? {
            self.zeros(run.logical * block - at, output)?;
            let mut failed = None;
            let read = self.volume.read_run(inode, run, &mut |bytes| {
                failed = self.piece(bytes, output).err();
                failed.is_none()
            });
            read?;
            if let Some(error) = failed {
                return Err(error);
            }
            at = (run.end() * block).min(inode.size);
        }
        self.zeros(inode.size - at, output)
    }

    fn zeros(&self, mut left: u64, output: &mut dyn Write) -> Result<(), SaveError> {
        while left != 0 {
            let length = usize::try_from(left).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
            self.piece(&ZEROS[..length], output)?;
            left -= length as u64;
        }
        Ok(())
    }

    fn piece(&self, bytes: &[u8], output: &mut dyn Write) -> Result<(), SaveError> {
        if self.cancel.is_cancelled() {
            return Err(SaveError::Cancelled);
        }
        output.write_all(bytes).map_err(SaveError::Output)
    }
}

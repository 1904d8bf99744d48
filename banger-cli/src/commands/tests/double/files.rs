//! The double's guests have files, and servers that echo.

use std::{collections::BTreeMap, thread};

use banger_core::{
    domain::VmName,
    vm::{
        ConnectError, ConnectFailure, Copied, CopyError, FileFailure, GuestAddress,
        GuestConnection, GuestFile, GuestFileKind, ReadTree, StreamPiece, TreeEvent, TreeRead,
        TreeStream, WriteTree,
    },
};
use bytes::Bytes;
use tokio::sync::mpsc;

/// The port where nobody listens.
pub(crate) const REFUSED: u16 = 1;

#[derive(Debug, Default)]
pub(crate) struct GuestFiles {
    /// What there is.
    pub(crate) known: BTreeMap<String, GuestFileKind>,
    /// The last tar stream that was written.
    pub(crate) written: Vec<u8>,
}

impl GuestFiles {
    pub(super) fn stat(&self, path: &str) -> Result<GuestFile, CopyError> {
        let kind = self.known.get(path.trim_end_matches("/.")).copied();
        let kind = kind.ok_or_else(|| CopyError::Guest {
            name: "box".parse().unwrap(),
            failure: FileFailure::NotFound,
            message: format!("cannot find {path}"),
        })?;
        Ok(GuestFile {
            kind,
            mode: 0o644,
            size: 0,
            resolved: path.as_bytes().to_vec(),
        })
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(super) fn read_line(request: &ReadTree) -> String {
    let name = request.archived_as.as_deref().map(text);
    format!("read {} as {name:?}", text(&request.path))
}

pub(super) fn write_line(request: &WriteTree) -> String {
    format!("write {} {}", text(&request.directory), request.keep_owners)
}

/// A stream with one file, and what was left out beside it.
pub(super) fn small_tree(name: Option<&[u8]>) -> TreeStream {
    let (sender, events) = mpsc::channel(2);
    let tar = member(name.unwrap_or(b"file"), b"content");
    sender.try_send(Ok(TreeEvent::Data(tar.into()))).unwrap();
    let read = TreeRead {
        copied: Copied {
            entries: 1,
            content_bytes: 7,
        },
        sockets_left_out: 2,
        mounts_left_out: 0,
    };
    sender.try_send(Ok(TreeEvent::End(read))).unwrap();
    TreeStream { events }
}

fn member(name: &[u8], content: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; 512];
    header[..name.len()].copy_from_slice(name);
    header[100..107].copy_from_slice(b"0000640");
    header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
    let mut stream = [&header, content].concat();
    stream.resize(stream.len().next_multiple_of(512) + 1024, 0);
    stream
}

/// All of a stream that has to have an end.
pub(super) async fn whole(mut tar: mpsc::Receiver<StreamPiece>) -> Result<Vec<u8>, CopyError> {
    let mut content = Vec::new();
    while let Some(piece) = tar.recv().await {
        match piece {
            StreamPiece::Data(bytes) => content.extend_from_slice(&bytes),
            StreamPiece::End => return Ok(content),
        }
    }
    Err(CopyError::Abandoned)
}

/// Sends everything back, with the port in front, and ends when the client
/// does.
pub(super) fn connection(
    name: VmName,
    address: GuestAddress,
) -> Result<GuestConnection, ConnectError> {
    if address.port.get() == REFUSED {
        return Err(ConnectError::Refused {
            name,
            address,
            failure: ConnectFailure::Refused,
            message: "nobody there".to_owned(),
        });
    }
    let (outgoing, mut sent) = mpsc::channel(2);
    let (answers, incoming) = mpsc::channel(2);
    let greeting = Bytes::from(address.port.to_string());
    answers.try_send(Ok(StreamPiece::Data(greeting))).unwrap();
    thread::spawn(move || {
        while let Some(piece) = sent.blocking_recv() {
            let last = piece == StreamPiece::End;
            if answers.blocking_send(Ok(piece)).is_err() || last {
                return;
            }
        }
    });
    Ok(GuestConnection { outgoing, incoming })
}

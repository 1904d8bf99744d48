//! The file that holds a machine's state, and QEMU's migration stream.
//!
//! Purpose: QEMU neither opens the file nor sees it: it writes to and reads
//! from a pipe. (That a descriptor may be a plain file is deprecated since QEMU
//! 9.1.) Invariants: the file is private to its owner and written back when
//! [`keep`] returns. Entry points: [`open`], [`keep`].

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt as _},
};

use camino::{Utf8Path, Utf8PathBuf};
use tokio::{
    io::{AsyncRead, AsyncWriteExt as _},
    net::unix::pipe,
};

use super::super::BackendError;
use crate::{domain::BackendKind, host_fs::IoContext as _};

/// Name of the state's file in a snapshot's directory.
const STATE: &str = "qemu.state";
/// Bytes that are moved at once.
const CHUNK: usize = 1 << 20;

/// A kept state on its way to QEMU.
#[derive(Debug)]
pub(super) struct Feed {
    file: File,
    path: Utf8PathBuf,
    pipe: pipe::Sender,
}

/// Opens a kept state; answers QEMU's end of the pipe too.
pub(super) fn open(directory: &Utf8Path) -> Result<(Feed, OwnedFd), BackendError> {
    let path = directory.join(STATE);
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(BackendError::NoSnapshot {
                directory: directory.to_string(),
                backend: BackendKind::Qemu.as_str(),
            });
        }
        opened => opened.at("open", &path)?,
    };
    let pipe = pipe::pipe().and_then(|(ours, qemus)| Ok((ours, qemus.into_blocking_fd()?)));
    let (pipe, qemus) = pipe.at("make a pipe for", &path)?;
    Ok((Feed { file, path, pipe }, qemus))
}

impl Feed {
    /// Gives all of it to QEMU.
    pub(super) async fn run(self) -> Result<(), BackendError> {
        let Self {
            file,
            path,
            mut pipe,
        } = self;
        let mut file = tokio::io::BufReader::with_capacity(CHUNK, tokio::fs::File::from_std(file));
        let copied = tokio::io::copy_buf(&mut file, &mut pipe).await;
        copied.at("give to QEMU", &path)?;
        Ok(())
    }
}

/// A pipe for QEMU to write its state to: our end and QEMU's.
pub(super) fn pipe() -> io::Result<(pipe::Receiver, OwnedFd)> {
    let (qemus, ours) = pipe::pipe()?;
    Ok((ours, qemus.into_blocking_fd()?))
}

/// Keeps what QEMU writes, to its end.
pub(super) async fn keep(
    from_qemu: impl AsyncRead + Unpin,
    directory: &Utf8Path,
) -> Result<(), BackendError> {
    let path = directory.join(STATE);
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(&path).at("create", &path)?;
    let mut file = tokio::fs::File::from_std(file);
    let mut from_qemu = tokio::io::BufReader::with_capacity(CHUNK, from_qemu);
    let written = async {
        tokio::io::copy_buf(&mut from_qemu, &mut file).await?;
        file.flush().await?;
        file.sync_all().await
    };
    written.await.at("write", &path)?;
    Ok(())
}

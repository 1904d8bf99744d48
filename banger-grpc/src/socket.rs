//! The server's Unix socket.
//!
//! Purpose: a socket that only its owner can reach, and that never stands in its
//! own way. Invariants: its directory is the user's alone (0700) before the socket
//! is made, so that nobody can connect between bind and chmod; one server at a
//! time holds the lock beside it; a socket that somebody answers on is never
//! removed; only the server's own user and root are heard.
//! Entry points: [`ServerSocket`].

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    time::Duration,
};

use banger_core::{
    ErrorKind,
    host_fs::{FileLock, IoContext as _, PathError, create_private_directory},
};
use camino::{Utf8Path, Utf8PathBuf};
use futures_util::{Stream, stream};
use rustix::process::geteuid;
use tokio::{
    net::{UnixListener, UnixStream},
    time::sleep,
};

use crate::transport::connection::{Connection, Places};

/// Longest path that a Unix socket can have (unix(7)).
const MAX_PATH: usize = 107;
/// What is waited for when the host cannot accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A server's socket could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Another server has it.
    #[error("another server has the socket {path}")]
    InUse {
        /// The socket.
        path: Utf8PathBuf,
    },
    /// There is something else in its place.
    #[error("{path} is there and no socket")]
    NotASocket {
        /// The path.
        path: Utf8PathBuf,
    },
    /// The path cannot be a socket's.
    #[error("the socket path {path} is longer than {MAX_PATH} bytes")]
    TooLong {
        /// The path.
        path: Utf8PathBuf,
    },
    /// Others than the user can get at the directory.
    #[error("the directory {directory} is not the user's alone: it needs mode 0700")]
    Exposed {
        /// The directory.
        directory: Utf8PathBuf,
    },
    /// A host file failed.
    #[error("failed to make the server's socket")]
    Io(#[from] PathError),
}

impl SocketError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InUse { .. } | Self::NotASocket { .. } => ErrorKind::Conflict,
            Self::TooLong { .. } => ErrorKind::InvalidInput,
            Self::Exposed { .. } => ErrorKind::PermissionDenied,
            Self::Io(error) => error.kind(),
        }
    }
}

/// A server's socket, bound. Dropping it removes it, unless it is somebody else's.
#[derive(Debug)]
pub struct ServerSocket {
    listener: UnixListener,
    /// None when whoever started the server made it.
    _file: Option<SocketFile>,
}

/// The socket in its directory. Dropping it removes it.
#[derive(Debug)]
struct SocketFile {
    path: Utf8PathBuf,
    /// Which file it is: another server may have put its own there.
    identity: (u64, u64),
    _lock: FileLock,
}

impl ServerSocket {
    /// Makes the socket and, if need be, its directory. One that a server left
    /// that is gone is replaced. Must be called in a runtime.
    pub async fn bind(path: &Utf8Path) -> Result<Self, SocketError> {
        if MAX_PATH < path.as_str().len() {
            return Err(SocketError::TooLong {
                path: path.to_owned(),
            });
        }
        make_directory(path)?;
        let in_use = || SocketError::InUse {
            path: path.to_owned(),
        };
        let lock = FileLock::try_acquire(&path.with_added_extension("lock"))?;
        let lock = lock.ok_or_else(in_use)?;
        remove_stale(path).await?;
        let listener = UnixListener::bind(path).at("bind", path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).at("protect", path)?;
        let metadata = fs::symlink_metadata(path).at("inspect", path)?;
        let file = SocketFile {
            path: path.to_owned(),
            identity: (metadata.dev(), metadata.ino()),
            _lock: lock,
        };
        Ok(Self {
            listener,
            _file: Some(file),
        })
    }

    /// A socket that listens already, made by whoever started the server, who keeps it.
    /// Must be called in a runtime.
    pub fn inherit(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener: UnixListener::from_std(listener)?,
            _file: None,
        })
    }

    /// The connections of those who may connect, as they come. Whoever else
    /// connects is sent away without a word.
    pub(crate) fn connections(
        &self,
        most: usize,
    ) -> impl Stream<Item = io::Result<Connection>> + Send {
        let places = Places::new(most);
        stream::unfold((&self.listener, places), async |(listener, places)| {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        if let Some(connection) = welcome(stream, &places) {
                            return Some((Ok(connection), (listener, places)));
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if ours {
            // the next server removes it otherwise
            drop(fs::remove_file(&self.path));
        }
    }
}

fn make_directory(path: &Utf8Path) -> Result<(), SocketError> {
    let directory = path.parent().unwrap_or(Utf8Path::new("/"));
    if !directory.exists() {
        create_private_directory(directory)?;
    }
    let metadata = fs::metadata(directory).at("inspect", directory)?;
    let private = metadata.mode().trailing_zeros() >= 6;
    if private && metadata.uid() == geteuid().as_raw() {
        return Ok(());
    }
    Err(SocketError::Exposed {
        directory: directory.to_owned(),
    })
}

/// Removes a socket that nobody answers on. The lock is held.
async fn remove_stale(path: &Utf8Path) -> Result<(), SocketError> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(PathError::new("inspect", path, error).into()),
    };
    if !metadata.file_type().is_socket() {
        return Err(SocketError::NotASocket {
            path: path.to_owned(),
        });
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).at("remove", path)?;
            Ok(())
        }
        Ok(_) => Err(SocketError::InUse {
            path: path.to_owned(),
        }),
        Err(error) => Err(PathError::new("connect to", path, error).into()),
    }
}

/// A connection of somebody who may connect and has a place.
fn welcome(stream: UnixStream, places: &Places) -> Option<Connection> {
    let own = geteuid().as_raw();
    let peer = stream.peer_cred().map(|peer| peer.uid());
    let Some(uid) = peer.ok().filter(|uid| may_connect(*uid, own)) else {
        tracing::warn!("a connection of another user was refused");
        return None;
    };
    let Some(place) = places.take() else {
        tracing::warn!("a connection was refused: there are too many");
        return None;
    };
    Some(Connection::local(stream, uid, place))
}

/// Whether a user is heard by the server of user `own`.
const fn may_connect(peer: u32, own: u32) -> bool {
    const ROOT: u32 = 0;
    peer == own || peer == ROOT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> (tempfile::TempDir, Utf8PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(directory.path().join("run/grpc.sock")).unwrap();
        (directory, path)
    }

    fn mode(path: &Utf8Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn directory_and_socket_are_the_users_alone() {
        let (_directory, path) = scratch();
        let socket = ServerSocket::bind(&path).await.unwrap();
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(mode(&path), 0o600);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_that_a_crash_left_is_replaced_and_a_live_one_is_not() {
        let (_directory, path) = scratch();
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o700)).unwrap();
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "the test needs a stale socket");
        let socket = ServerSocket::bind(&path).await.unwrap();
        let second = ServerSocket::bind(&path).await.unwrap_err();
        assert!(matches!(second, SocketError::InUse { .. }), "{second}");
        UnixStream::connect(&path).await.unwrap();
        drop(socket);

        // somebody listens who knows nothing of the lock
        let stranger = UnixListener::bind(&path).unwrap();
        let refused = ServerSocket::bind(&path).await.unwrap_err();
        assert!(matches!(refused, SocketError::InUse { .. }), "{refused}");
        drop(stranger);
    }

    #[tokio::test]
    async fn files_open_directories_and_long_paths_are_refused_by_name() {
        let (_directory, path) = scratch();
        let parent = path.parent().unwrap();
        fs::create_dir(parent).unwrap();
        fs::set_permissions(parent, fs::Permissions::from_mode(0o755)).unwrap();
        let exposed = ServerSocket::bind(&path).await.unwrap_err();
        assert!(matches!(exposed, SocketError::Exposed { .. }), "{exposed}");
        fs::set_permissions(parent, fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(&path, "the user's").unwrap();
        let file = ServerSocket::bind(&path).await.unwrap_err();
        assert!(matches!(file, SocketError::NotASocket { .. }), "{file}");
        assert_eq!(fs::read(&path).unwrap(), b"the user's");
        let long = parent.join("x".repeat(MAX_PATH));
        let refused = ServerSocket::bind(&long).await.unwrap_err();
        assert!(matches!(refused, SocketError::TooLong { .. }), "{refused}");
    }

    #[test]
    fn only_the_user_and_root_are_heard() {
        assert!(may_connect(1000, 1000));
        assert!(may_connect(0, 1000));
        assert!(!may_connect(1001, 1000));
        assert!(!may_connect(1000, 0));
    }
}

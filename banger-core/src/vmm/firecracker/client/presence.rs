//! Waiting for a file to appear in a directory (inotify(7)).
//!
//! Invariant: what appears after one was made is told, whenever is waited for
//! it. Entry points: [`Presence`].

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use camino::Utf8Path;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::{io::AsyncReadExt as _, net::unix::pipe};

/// Bytes read at once; what an event says does not matter.
const EVENTS: usize = 4096;

/// Notices what appears in a directory.
#[derive(Debug)]
pub(super) struct Presence {
    /// As good as a pipe: it is read, and nothing else.
    events: pipe::Receiver,
}

impl Presence {
    /// In the directory where a path is.
    pub(super) fn beside(path: &Utf8Path) -> io::Result<Self> {
        Self::at(path.parent().unwrap_or(path))
    }

    /// In a directory that is known by no path.
    pub(super) fn within(directory: BorrowedFd<'_>) -> io::Result<Self> {
        let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
        Self::at(Utf8Path::new(&path))
    }

    fn at(directory: &Utf8Path) -> io::Result<Self> {
        let events = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let appears = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
        inotify::add_watch(&events, directory.as_str(), appears)?;
        let events = pipe::Receiver::from_owned_fd_unchecked(events)?;
        Ok(Self { events })
    }

    /// Waits until something appeared since this was made, or was last called.
    /// May be cancelled and called again.
    pub(super) async fn changed(&mut self) -> io::Result<()> {
        self.events.read(&mut [0; EVENTS]).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, time::Duration};

    use camino::Utf8PathBuf;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn what_appears_is_told_also_afterwards() {
        let directory = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::try_from(directory.path().join("new")).unwrap();
        let opened = File::open(directory.path()).unwrap();
        let mut by_path = Presence::beside(&path).unwrap();
        let mut by_descriptor = Presence::within(std::os::fd::AsFd::as_fd(&opened)).unwrap();
        File::create_new(&path).unwrap();
        for presence in [&mut by_path, &mut by_descriptor] {
            presence.changed().await.unwrap();
            // once
            let again = timeout(Duration::from_millis(20), presence.changed()).await;
            again.unwrap_err();
        }
    }
}

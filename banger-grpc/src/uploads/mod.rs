//! Files of clients, from their coming until an operation has used them.
//!
//! Purpose: one place for all that images and kernels are made of and that lies where
//! the client is. Invariants: a file has its name only when it is whole and its digest
//! is what the client said; one stream writes it at a time, and the newest one does; a
//! part that came stays when its stream breaks or the server ends, to be gone on with;
//! whatever nobody sends or uses for an hour goes, whole or not. Nobody names another's:
//! the owner is part of the file's name. Entry points: [`Uploads`].

mod ledger;
mod partial;
#[cfg(test)]
mod tests;

use std::{
    fs, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use banger_api::v1::ErrorReason;
use banger_core::{
    domain::Digest,
    host_fs::{IoContext as _, PathError, create_directory, create_private_directory},
};
use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use tokio::{
    sync::{OwnedMutexGuard, mpsc, watch as channel},
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{backend::Backend, fault::Fault};
pub(crate) use ledger::Key;
pub use ledger::UploadLimits;
use ledger::{Entry, Ledger, taken_over};
use partial::Partial;

/// What a file that is coming has behind its name.
const PARTIAL: &str = ".part";
/// Letters of a file's name that say whose it is.
const OWNER: usize = 32;
/// How long a stream may take to let go.
const LETTING_GO: Duration = Duration::from_secs(30);
/// How often it is looked for what nobody needs.
const PERIOD: Duration = Duration::from_mins(5);

/// The files of all clients. Clones share everything.
#[derive(Clone, Debug)]
pub struct Uploads(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: Utf8PathBuf,
    limits: UploadLimits,
    ledger: Mutex<Ledger>,
}

/// A piece of a file on its way.
#[derive(Debug)]
pub(crate) enum Piece {
    Data(Bytes),
    /// It is whole: so long, with this digest.
    End(u64, Digest),
}

/// How an upload stands when its client begins.
#[derive(Debug)]
pub(crate) enum Begun {
    /// It is whole, and so long.
    Whole(u64),
    /// It is to be gone on with.
    Coming(Taking),
}

/// The right to write an upload, until another stream wants it.
#[derive(Debug)]
pub(crate) struct Taking {
    uploads: Uploads,
    key: Key,
    /// How many bytes are there.
    pub(crate) kept: u64,
    /// Cancelled when another stream goes on.
    pub(crate) turn: CancellationToken,
    place: OwnedMutexGuard<Option<Partial>>,
}

/// An upload that an operation reads: it stays meanwhile.
#[derive(Debug)]
pub(crate) struct Held {
    uploads: Uploads,
    key: Key,
    pub(crate) file: Utf8PathBuf,
}

impl Key {
    /// What a caller's upload is called on this host.
    pub(crate) fn new(owner: &str, id: Uuid) -> Self {
        let digest = Digest::of(owner.as_bytes()).to_hex();
        Self {
            owner: digest[..OWNER].to_owned(),
            name: id.hyphenated().to_string(),
        }
    }

    /// The same as a text, which operations remember.
    pub(crate) fn text(&self) -> String {
        format!("{}-{}", self.owner, self.name)
    }

    pub(crate) fn of_text(text: &str) -> Option<Self> {
        let (owner, name) = text.split_once('-')?;
        let id = Uuid::try_parse(name).ok()?;
        let is_owner = owner.len() == OWNER && owner.bytes().all(|one| one.is_ascii_hexdigit());
        is_owner.then(|| Self {
            owner: owner.to_owned(),
            name: id.hyphenated().to_string(),
        })
    }
}

impl Uploads {
    /// Those in a directory of the server's own, which need not be there yet.
    #[must_use]
    pub fn new(directory: Utf8PathBuf, limits: UploadLimits) -> Self {
        Self(Arc::new(Inner {
            directory,
            limits,
            ledger: Mutex::default(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        let ledger = self.0.ledger.lock();
        ledger.unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, key: &Key) -> Utf8PathBuf {
        self.0.directory.join(key.text())
    }

    fn partial(&self, key: &Key) -> Utf8PathBuf {
        self.0.directory.join(key.text() + PARTIAL)
    }

    /// Finds what servers that are gone left.
    pub(crate) fn find(&self) -> Result<(), PathError> {
        let directory = &self.0.directory;
        if let Some(cache) = directory.parent() {
            create_directory(cache)?;
        }
        create_private_directory(directory)?;
        let mut ledger = self.lock();
        let entries = directory.read_dir_utf8();
        for entry in entries.at("read directory", directory)? {
            let entry = entry.at("read directory", directory)?;
            let name = entry.file_name();
            let whole = name.strip_suffix(PARTIAL).unwrap_or(name);
            let Some(key) = Key::of_text(whole) else {
                continue;
            };
            let metadata = entry.metadata().at("inspect", entry.path())?;
            let touched = metadata.modified().at("inspect", entry.path())?;
            let found = Entry::new(metadata.len(), whole == name, touched);
            ledger.0.insert(key, found);
        }
        Ok(())
    }

    /// Begins a stream, which ends one before of the same upload.
    pub(crate) async fn begin(&self, key: &Key, now: SystemTime) -> Result<Begun, Fault> {
        let turn = CancellationToken::new();
        let place = {
            let mut ledger = self.lock();
            let entry = ledger.begin(key, &self.0.limits, now)?;
            entry.touched = now;
            if entry.is_whole {
                return Ok(Begun::Whole(entry.bytes));
            }
            std::mem::replace(&mut entry.turn, turn.clone()).cancel();
            Arc::clone(&entry.place)
        };
        // whoever wrote lets go as soon as it is told
        let place = timeout(LETTING_GO, place.lock_owned()).await;
        let place = place.map_err(|_| taken_over())?;
        let ledger = self.lock();
        match ledger.0.get(key) {
            _ if turn.is_cancelled() => Err(taken_over()),
            None => Err(taken_over()),
            Some(entry) if entry.is_whole => Ok(Begun::Whole(entry.bytes)),
            Some(entry) => Ok(Begun::Coming(Taking {
                uploads: self.clone(),
                key: key.clone(),
                kept: entry.bytes,
                turn,
                place,
            })),
        }
    }

    /// How long that upload is; fails unless it is there and whole.
    pub(crate) fn check(&self, key: &Key) -> Result<u64, Fault> {
        let ledger = self.lock();
        let found = ledger.0.get(key).filter(|entry| entry.is_whole);
        found.map(|entry| entry.bytes).ok_or_else(not_found)
    }

    /// Holds an upload, so that it can be read.
    pub(crate) fn hold(&self, key: &Key, now: SystemTime) -> Result<Held, Fault> {
        let mut ledger = self.lock();
        let found = ledger.0.get_mut(key).filter(|entry| entry.is_whole);
        let entry = found.ok_or_else(not_found)?;
        entry.holders += 1;
        entry.touched = now;
        Ok(Held {
            uploads: self.clone(),
            key: key.clone(),
            file: self.file(key),
        })
    }

    /// Removes an upload that nobody reads; whoever writes it is ended.
    pub(crate) async fn remove(&self, key: &Key) {
        let place = {
            let ledger = self.lock();
            let Some(entry) = ledger.0.get(key).filter(|entry| entry.holders == 0) else {
                return;
            };
            entry.turn.cancel();
            Arc::clone(&entry.place)
        };
        let _place = place.lock().await;
        let mut ledger = self.lock();
        if ledger.0.get(key).is_some_and(|entry| entry.holders == 0) {
            self.forget(&mut ledger, key);
        }
    }

    fn forget(&self, ledger: &mut Ledger, key: &Key) {
        for file in [self.file(key), self.partial(key)] {
            if let Err(error) = fs::remove_file(&file)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%error, %file, "an upload is left for later");
                return;
            }
        }
        ledger.0.remove(key);
    }

    /// Removes what nobody has sent or used for long.
    fn sweep(&self, now: SystemTime) {
        let mut ledger = self.lock();
        let forgotten = ledger.0.iter().filter(|(_, one)| one.is_forgotten(now));
        let keys: Vec<Key> = forgotten.map(|(key, _)| key.clone()).collect();
        for key in keys {
            tracing::info!(upload = key.text(), "an upload that nobody uses is removed");
            self.forget(&mut ledger, &key);
        }
    }
}

/// Removes what nobody needs, until it is cancelled.
pub(crate) async fn watch(backend: Backend, over: CancellationToken) {
    loop {
        tokio::select! {
            () = over.cancelled() => return,
            () = sleep(PERIOD) => {}
        }
        let (uploads, now) = (backend.uploads.clone(), backend.clock.now());
        // the runtime ends, or there is a fault of ours that is logged
        drop(spawn_blocking(move || uploads.sweep(now)).await);
    }
}

impl Taking {
    /// Takes what comes, and tells how much is kept; answers how long the file is when
    /// it is whole. Holds up its thread.
    pub(crate) fn receive(
        mut self,
        mut pieces: mpsc::Receiver<Piece>,
        kept: &channel::Sender<u64>,
    ) -> Result<u64, Fault> {
        let path = self.uploads.partial(&self.key);
        let partial = match self.place.take() {
            Some(partial) => Ok(partial),
            None => Partial::open(&path, self.kept),
        };
        let mut partial = partial.map_err(|error| self.broken(&error))?;
        while let Some(piece) = pieces.blocking_recv() {
            match piece {
                Piece::Data(data) => {
                    let (uploads, more) = (&self.uploads, data.len() as u64);
                    let limits = &uploads.0.limits;
                    let grown = uploads.lock().grow(&self.key, more, limits);
                    match grown {
                        Err(fault) if fault.reason() == ErrorReason::HostExhausted => {
                            return Err(self.refused(fault));
                        }
                        // there may be room later
                        Err(fault) => {
                            *self.place = Some(partial);
                            return Err(fault);
                        }
                        Ok(()) => {}
                    }
                    let taken = partial.take(&data);
                    kept.send_replace(taken.map_err(|error| self.broken(&error))?);
                }
                Piece::End(length, digest) => return self.finish(&partial, length, &digest),
            }
        }
        *self.place = Some(partial);
        let message = "the stream ended before the file did";
        Err(Fault::new(ErrorReason::Cancelled, message))
    }

    fn finish(self, partial: &Partial, length: u64, digest: &Digest) -> Result<u64, Fault> {
        let is_whole = partial.is_whole(length, digest);
        if !is_whole.map_err(|error| self.broken(&error))? {
            let message = "the file is not what its length and its digest say";
            return Err(self.refused(Fault::new(ErrorReason::CorruptData, message)));
        }
        let (from, to) = (
            self.uploads.partial(&self.key),
            self.uploads.file(&self.key),
        );
        let renamed = publish(&from, &to);
        renamed.map_err(|error| self.broken(&error))?;
        let mut ledger = self.uploads.lock();
        let entry = ledger.0.get_mut(&self.key).ok_or_else(taken_over)?;
        entry.is_whole = true;
        Ok(length)
    }

    /// What came is of no use.
    fn refused(&self, fault: Fault) -> Fault {
        let uploads = &self.uploads;
        uploads.forget(&mut uploads.lock(), &self.key);
        fault
    }

    fn broken(&self, error: &PathError) -> Fault {
        self.refused(Fault::of(error.kind(), error))
    }
}

fn publish(from: &Utf8Path, to: &Utf8Path) -> Result<(), PathError> {
    fs::rename(from, to).at("publish", to)
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(entry) = self.uploads.lock().0.get_mut(&self.key) {
            entry.holders = entry.holders.saturating_sub(1);
        }
    }
}

fn not_found() -> Fault {
    let message = "the caller has no such upload that is whole";
    Fault::new(ErrorReason::UploadNotFound, message)
}

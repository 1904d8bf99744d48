//! Certificates and credentials, as they are now.
//!
//! Purpose: what a server over TLS shows and whom it lets in, out of files that are
//! read again when they change or when somebody asks. Invariants: what is broken
//! never replaces what is not; a connection that was made stays what it was made
//! with. Entry points: [`Security`].

use std::{
    fmt, io,
    os::unix::fs::MetadataExt as _,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use banger_core::{
    ErrorKind,
    error::in_words,
    host_fs::{IoContext as _, PathError},
};
use camino::{Utf8Path, Utf8PathBuf};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::{sync::watch, time::sleep};

use crate::{
    access::credentials::{Credentials, CredentialsError, read_private},
    caller::Scopes,
};

/// How often it is looked whether a file changed.
const LOOKING: Duration = Duration::from_secs(5);
/// Largest file of certificates.
const MAX_PEM: u64 = 4 * 1024 * 1024;
/// The protocol inside TLS.
const HTTP2: &[u8] = b"h2";

/// The files that say who the server is, and who may call from elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecurityFiles {
    /// The server's certificate, with those between it and its authority.
    pub certificate: Option<Utf8PathBuf>,
    /// The certificate's key, the server's alone.
    pub key: Option<Utf8PathBuf>,
    /// Authorities of clients' certificates.
    pub client_authorities: Option<Utf8PathBuf>,
    /// What clients' certificates may that the list does not name.
    pub certificate_scopes: Scopes,
    /// The list of tokens and certificates.
    pub tokens: Option<Utf8PathBuf>,
}

/// Certificates or credentials cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecurityError {
    /// A certificate without its key, or the other way round.
    #[error("TLS needs both a certificate and its key")]
    HalfOfTls,
    /// There would be no way to tell who calls.
    #[error("a listener for TLS needs authorities of clients' certificates, or tokens")]
    NobodyCouldCall,
    /// There is nothing to show to clients.
    #[error("a listener for TCP needs a certificate and its key")]
    NoCertificate,
    /// A host file failed.
    #[error("failed to read a certificate or a key")]
    Io(#[from] PathError),
    /// A file holds something else.
    #[error("{path} holds no {what}")]
    Form {
        /// The file.
        path: Utf8PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// They do not fit together, or are of a sort that nobody uses any more.
    #[error("the certificates of {path} cannot be used")]
    Unusable {
        /// The file.
        path: Utf8PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The list of tokens and certificates.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

impl SecurityError {
    /// The classification of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::HalfOfTls
            | Self::NobodyCouldCall
            | Self::NoCertificate
            | Self::Form { .. }
            | Self::Unusable { .. } => ErrorKind::InvalidInput,
            Self::Io(error) => error.kind(),
            Self::Credentials(error) => error.kind(),
        }
    }
}

/// What a server shows, and whom it lets in.
pub struct Security {
    files: SecurityFiles,
    credentials: RwLock<Arc<Credentials>>,
    tls: RwLock<Option<Arc<ServerConfig>>>,
    seen: Mutex<Vec<Option<Mark>>>,
    /// Counts how often it was read.
    changes: watch::Sender<u64>,
}

/// What tells a file from another one in its place.
type Mark = (u64, u64, u64, i64, i64);

impl fmt::Debug for Security {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = to.debug_struct("Security");
        all.field("files", &self.files).finish_non_exhaustive()
    }
}

impl Security {
    /// That of a server that only its host's users reach.
    #[must_use]
    pub fn local() -> Self {
        Self {
            files: SecurityFiles::default(),
            credentials: RwLock::default(),
            tls: RwLock::default(),
            seen: Mutex::default(),
            changes: watch::Sender::default(),
        }
    }

    /// What the files say.
    pub fn load(files: SecurityFiles) -> Result<Self, SecurityError> {
        let seen = marks(&files);
        Ok(Self {
            credentials: RwLock::new(Arc::new(read_credentials(&files)?)),
            tls: RwLock::new(read_tls(&files)?),
            seen: Mutex::new(seen),
            changes: watch::Sender::default(),
            files,
        })
    }

    /// Reads the files again. What is broken is logged and left as it was.
    pub fn reload(&self) {
        *lock(&self.seen) = marks(&self.files);
        match read_credentials(&self.files) {
            Ok(new) => *write(&self.credentials) = Arc::new(new),
            Err(error) => complain("credentials", &error),
        }
        match read_tls(&self.files) {
            Ok(new) => *write(&self.tls) = new,
            Err(error) => complain("certificates", &error),
        }
        self.changes.send_modify(|count| *count += 1);
    }

    /// Reads the files again whenever one changed, for as long as it is polled.
    pub async fn keep_fresh(&self) {
        loop {
            sleep(LOOKING).await;
            if *lock(&self.seen) != marks(&self.files) {
                tracing::info!("certificates or credentials changed");
                self.reload();
            }
        }
    }

    /// Tells of every time that the files were read again.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Who may call, as of now.
    pub(crate) fn credentials(&self) -> Arc<Credentials> {
        let now = self.credentials.read();
        Arc::clone(&now.unwrap_or_else(PoisonError::into_inner))
    }

    /// What a new connection over TLS is made with; fails where there is none, or
    /// where nobody could call over it.
    pub(crate) fn tls(&self) -> Result<Arc<ServerConfig>, SecurityError> {
        if self.files.tokens.is_none() && self.files.client_authorities.is_none() {
            return Err(SecurityError::NobodyCouldCall);
        }
        let now = self.tls.read();
        let now = now.unwrap_or_else(PoisonError::into_inner);
        now.clone().ok_or(SecurityError::NoCertificate)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(of: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    of.write().unwrap_or_else(PoisonError::into_inner)
}

fn complain(what: &str, error: &(dyn std::error::Error + 'static)) {
    let error = in_words(error);
    tracing::error!(
        error,
        "new {what} cannot be used: the server goes on with those it has"
    );
}

fn marks(files: &SecurityFiles) -> Vec<Option<Mark>> {
    let SecurityFiles {
        certificate,
        key,
        client_authorities,
        tokens,
        certificate_scopes: _,
    } = files;
    let mark = |path: &Utf8PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        let changed = (found.ctime(), found.ctime_nsec());
        Some((found.dev(), found.ino(), found.size(), changed.0, changed.1))
    };
    let all = [certificate, key, client_authorities, tokens];
    all.map(|path| path.as_ref().and_then(mark)).to_vec()
}

fn read_credentials(files: &SecurityFiles) -> Result<Credentials, CredentialsError> {
    let listed = files.tokens.as_deref().map(Credentials::read).transpose()?;
    let listed = listed.unwrap_or_default();
    Ok(listed.with_unnamed_certificate(files.certificate_scopes))
}

fn read_tls(files: &SecurityFiles) -> Result<Option<Arc<ServerConfig>>, SecurityError> {
    let (path, key) = match (&files.certificate, &files.key) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) => return Ok(None),
        _ => return Err(SecurityError::HalfOfTls),
    };
    let chain = certificates(path)?;
    let key = PrivateKeyDer::from_pem_slice(&read_private(key)?).map_err(|_| form(key, "key"))?;
    let unusable = |path: &Utf8PathBuf, source| SecurityError::Unusable {
        path: path.clone(),
        source,
    };
    let provider = Arc::new(ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(path, error.into()))?;
    let config = match &files.client_authorities {
        None => config.with_no_client_auth(),
        Some(authorities) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(authorities)? {
                let added = roots.add(authority);
                added.map_err(|error| unusable(authorities, error.into()))?;
            }
            let mut verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            if files.tokens.is_some() {
                // whoever shows none may still have a token
                verifier = verifier.allow_unauthenticated();
            }
            let verifier = verifier.build();
            let verifier = verifier.map_err(|error| unusable(authorities, error.into()))?;
            config.with_client_cert_verifier(verifier)
        }
    };
    let mut config = config
        .with_single_cert(chain, key)
        .map_err(|error| unusable(path, error.into()))?;
    config.alpn_protocols = vec![HTTP2.to_vec()];
    Ok(Some(Arc::new(config)))
}

fn certificates(path: &Utf8Path) -> Result<Vec<CertificateDer<'static>>, SecurityError> {
    let metadata = std::fs::metadata(path).at("inspect", path)?;
    if !metadata.is_file() || MAX_PEM < metadata.len() {
        let error = io::Error::from(io::ErrorKind::InvalidInput);
        return Err(PathError::new("read certificates of", path, error).into());
    }
    let text = std::fs::read(path).at("read", path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let all = all.ok().filter(|all| !all.is_empty());
    all.ok_or_else(|| form(path, "certificate"))
}

fn form(path: &Utf8Path, what: &'static str) -> SecurityError {
    SecurityError::Form {
        path: path.to_owned(),
        what,
    }
}

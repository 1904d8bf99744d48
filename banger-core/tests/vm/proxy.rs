//! A socket in the place of another, whose connections can be cut.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use camino::{Utf8Path, Utf8PathBuf};
use tokio::{
    io::copy_bidirectional,
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
};

/// Passes connections on until they are cut.
pub(crate) struct Proxy {
    cuts: watch::Sender<u64>,
    connections: Arc<AtomicUsize>,
    _accepting: JoinSet<()>,
}

impl Proxy {
    /// Takes the place of a socket.
    pub(crate) fn before(socket: &Utf8Path) -> Self {
        let moved = socket.with_extension("real");
        fs::rename(socket, &moved).unwrap();
        let listener = UnixListener::bind(socket).unwrap();
        let cuts = watch::Sender::new(0);
        let connections = Arc::<AtomicUsize>::default();
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(
            listener,
            moved,
            cuts.clone(),
            Arc::clone(&connections),
        ));
        Self {
            cuts,
            connections,
            _accepting: accepting,
        }
    }

    /// Cuts every connection there is.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|count| *count += 1);
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn accept(
    listener: UnixListener,
    real: Utf8PathBuf,
    cuts: watch::Sender<u64>,
    connections: Arc<AtomicUsize>,
) {
    let mut passing = JoinSet::new();
    loop {
        let (mut near, _) = listener.accept().await.unwrap();
        connections.fetch_add(1, Ordering::Relaxed);
        let mut cut = cuts.subscribe();
        let real = real.clone();
        passing.spawn(async move {
            let mut far = UnixStream::connect(real).await.unwrap();
            tokio::select! {
                _ = copy_bidirectional(&mut near, &mut far) => {}
                _ = cut.changed() => {}
            }
        });
    }
}

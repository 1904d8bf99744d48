//! A way to the service that breaks when it is told to.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use camino::{Utf8Path, Utf8PathBuf};
use tokio::{
    io::{self, AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
};

/// What a client sends before its first frame (RFC 9113, 3.4).
const PREFACE: usize = 24;
/// The head of a frame, which begins with its length (RFC 9113, 4.1).
const HEAD: usize = 9;

/// Passes connections on to a service.
pub(crate) struct Cutter {
    pub(crate) socket: Utf8PathBuf,
    plan: Arc<Plan>,
    accepting: JoinHandle<()>,
}

/// After how many frames, of both directions together, connections are cut.
#[derive(Default)]
struct Plan {
    frames: AtomicU64,
    /// How many connections are still to be cut.
    connections: AtomicU64,
    /// How many were.
    cut: AtomicU64,
}

impl Cutter {
    pub(crate) fn start(socket: Utf8PathBuf, service: &Utf8Path) -> Self {
        let listener = UnixListener::bind(&socket).unwrap();
        let plan = Arc::new(Plan::default());
        let (service, shared) = (service.to_owned(), Arc::clone(&plan));
        #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (service, plan) = (service.clone(), Arc::clone(&shared));
                #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
                drop(tokio::spawn(async move {
                    // a service that is away refuses, and so does this
                    if let Ok(service) = UnixStream::connect(&service).await {
                        pass(client, service, &plan).await;
                    }
                }));
            }
        });
        Self {
            socket,
            plan,
            accepting,
        }
    }

    /// Cuts so many of the next connections, each after so many frames.
    pub(crate) fn cut(&self, connections: u64, frames: u64) {
        self.plan.cut.store(0, Ordering::Relaxed);
        self.plan.frames.store(frames, Ordering::Relaxed);
        self.plan.connections.store(connections, Ordering::Relaxed);
    }

    /// How many connections were cut since.
    pub(crate) fn cuts(&self) -> u64 {
        self.plan.cut.load(Ordering::Relaxed)
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(client: UnixStream, service: UnixStream, plan: &Plan) {
    let one_less = |left: u64| left.checked_sub(1);
    let counted = plan
        .connections
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less)
        .is_ok();
    let left = AtomicU64::new(if counted {
        plan.frames.load(Ordering::Relaxed)
    } else {
        u64::MAX
    });
    let (from_client, to_client) = client.into_split();
    let (from_service, to_service) = service.into_split();
    // whichever ends first takes the other one along
    let ended = tokio::select! {
        ended = pump(from_client, to_service, PREFACE, &left) => ended,
        ended = pump(from_service, to_client, 0, &left) => ended,
    };
    if ended.is_ok() {
        plan.cut.fetch_add(1, Ordering::Relaxed);
    }
}

/// Passes frames on until there were as many as there may be.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    preface: usize,
    left: &AtomicU64,
) -> io::Result<()> {
    let mut frame = vec![0; preface];
    from.read_exact(&mut frame).await?;
    to.write_all(&frame).await?;
    loop {
        let mut frame = vec![0; HEAD];
        from.read_exact(&mut frame).await?;
        let length = u32::from_be_bytes([0, frame[0], frame[1], frame[2]]);
        frame.resize(HEAD + usize::try_from(length).unwrap(), 0);
        from.read_exact(&mut frame[HEAD..]).await?;
        to.write_all(&frame).await?;
        if left.fetch_sub(1, Ordering::Relaxed) <= 1 {
            return Ok(());
        }
    }
}

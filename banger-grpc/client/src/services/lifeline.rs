//! Machines that live no longer than whoever made them.
//!
//! Invariants: a machine is made, or runs, in a session that this process keeps; when
//! its lifeline is dropped the session is ended, and when the process dies, nobody keeps
//! it. Entry points: [`Server::session_for`].

use std::{io, os::fd::OwnedFd, time::Duration};

use banger_api::v1::{EndSessionRequest, KeepSessionRequest, LeaseExpiry};
use banger_core::{
    ErrorKind,
    vm::{Lifeline, Lifetime},
};
use tokio::{
    io::AsyncReadExt as _,
    net::unix::pipe::{self, Receiver},
    time::{sleep, timeout},
};
use uuid::Uuid;

use super::{Server, requests::duration};
use crate::Failure;

/// How long a session lives that nobody keeps, and how often it is kept.
const LIFE: Duration = Duration::from_secs(30);
const BEAT: Duration = Duration::from_secs(8);

impl Server {
    /// Begins a session for what lives no longer than its caller; answers its name, which
    /// is empty where there is none, and what keeps it.
    pub(super) async fn session_for(
        &self,
        lifetime: Lifetime,
        on_expiry: LeaseExpiry,
    ) -> Result<(String, Option<Lifeline>), Failure> {
        if lifetime == Lifetime::Detached {
            return Ok((String::new(), None));
        }
        let name = format!("sessions/cli-{}", Uuid::now_v7());
        let keep = KeepSessionRequest {
            name: name.clone(),
            time_to_live: duration(LIFE),
            on_expiry: on_expiry.into(),
        };
        self.keep(&keep).await?;
        let (lifeline, end) = lifeline().map_err(|error| Failure::no_lifeline(&error))?;
        let server = self.clone();
        drop(self.tasks.spawn(async move {
            server.keep_until(&keep, end).await;
        }));
        Ok((name, Some(lifeline)))
    }

    async fn keep(&self, keep: &KeepSessionRequest) -> Result<(), Failure> {
        let kept = self.read(|| {
            let (keep, mut sessions) = (keep.clone(), self.client.sessions());
            async move { sessions.keep_session(keep).await }
        });
        kept.await.map(drop)
    }

    /// Keeps the session until the lifeline is gone, and then ends it.
    async fn keep_until(&self, keep: &KeepSessionRequest, mut end: Receiver) {
        let mut nothing = [0];
        let beating = async {
            loop {
                sleep(BEAT).await;
                // one that fails is made up for by the next
                drop(timeout(BEAT, self.keep(keep)).await);
            }
        };
        tokio::select! {
            _gone = end.read(&mut nothing) => {}
            never = beating => never,
        }
        let ended = self.read(|| {
            let name = keep.name.clone();
            let mut sessions = self.client.sessions();
            async move { sessions.end_session(EndSessionRequest { name }).await }
        });
        // a session that cannot be ended is over when its time is
        drop(ended.await);
    }
}

fn lifeline() -> io::Result<(Lifeline, Receiver)> {
    let (sender, receiver) = pipe::pipe()?;
    let write_end: OwnedFd = sender.into_blocking_fd()?;
    Ok((Lifeline::of_pipe(write_end), receiver))
}

impl Failure {
    fn no_lifeline(error: &io::Error) -> Self {
        Self::own(
            ErrorKind::of_io(error),
            format!("no pipe can be made: {error}"),
        )
    }
}

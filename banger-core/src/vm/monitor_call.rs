//! A client's calls to the monitor of a running VM.

use std::{io, time::Duration};

use banger_proto::monitor::v1::{StopRequest, monitor_service_client::MonitorServiceClient};
use camino::Utf8Path;
use tokio::{net::UnixStream, time::timeout};
use tokio_util::task::TaskTracker;

use super::{
    http2::{Http2Client, connect, origin},
    in_words,
};

/// How long connecting to a socket on this host may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// Connects to a monitor. The error's kind tells a socket that is not there
/// from one that does not answer.
pub(super) async fn reach(socket: &Utf8Path, tasks: &TaskTracker) -> io::Result<Http2Client> {
    let connecting = async {
        let stream = UnixStream::connect(socket).await?;
        connect(stream, tasks).await.map_err(io::Error::other)
    };
    timeout(CONNECT_DEADLINE, connecting)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Whether a failure to connect means that nobody listens.
pub(super) fn nobody_listens(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}

/// How a call to end a VM went.
#[derive(Debug)]
pub(super) enum StopAnswer {
    /// The VM is down; whether by force.
    Stopped { forced: bool },
    /// The monitor went away, or never answered in order.
    Broken(String),
    /// It gave no answer in time.
    TimedOut,
}

/// Has a monitor end its VM and waits up to `deadline`.
pub(super) async fn stop(client: Http2Client, grace: Duration, deadline: Duration) -> StopAnswer {
    let mut monitor = MonitorServiceClient::with_origin(client, origin());
    let request = StopRequest {
        grace_millis: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX),
    };
    match timeout(deadline, monitor.stop(request)).await {
        Ok(Ok(answer)) => StopAnswer::Stopped {
            forced: answer.into_inner().forced,
        },
        Ok(Err(status)) => StopAnswer::Broken(in_words(&status)),
        Err(_) => StopAnswer::TimedOut,
    }
}

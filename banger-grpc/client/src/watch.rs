//! Watching, over as many connections as it takes.
//!
//! Invariants: what happened is told once and in order, whatever breaks meanwhile;
//! nothing is kept here but where to go on from. Entry points: [`Client::watch_vms`],
//! [`Client::watch_operation`].

use banger_api::v1::{
    OperationEvent, WatchOperationRequest, WatchOperationResponse, WatchVmsRequest,
    WatchVmsResponse, operation_event::Event,
};
use tokio::time::{Duration, sleep};
use tonic::Streaming;

use crate::{Client, Failure, retry};

/// Between a stream that broke and the next one.
const PAUSE: Duration = Duration::from_millis(20);

/// What happens to virtual machines.
#[derive(Debug)]
pub struct VmWatch {
    client: Client,
    token: String,
    stream: Option<Streaming<WatchVmsResponse>>,
}

impl VmWatch {
    /// Where to go on from later, also in another process; empty while the machines
    /// as they are are still being told.
    #[must_use]
    pub fn resume_token(&self) -> &str {
        &self.token
    }

    /// What is told next. While the machines as they are are being told, a stream
    /// that breaks begins anew, with all of them: generations tell what is newer.
    /// Cancelling loses nothing. Fails with `WATCH_EXPIRED` when what would come next
    /// is forgotten.
    pub async fn next(&mut self) -> Result<WatchVmsResponse, Failure> {
        loop {
            let stream = match &mut self.stream {
                Some(stream) => stream,
                none => none.insert(begin_vms(&self.client, &self.token).await?),
            };
            if let Some(told) = heard(stream.message().await)? {
                self.token.clone_from(&told.resume_token);
                return Ok(told);
            }
            self.stream = None;
            sleep(PAUSE).await;
        }
    }
}

/// What happens to an operation.
#[derive(Debug)]
pub struct OperationWatch {
    client: Client,
    name: String,
    from: u64,
    over: bool,
    stream: Option<Streaming<WatchOperationResponse>>,
}

impl OperationWatch {
    /// The next event; none after the end. Cancelling loses nothing.
    pub async fn next(&mut self) -> Result<Option<OperationEvent>, Failure> {
        while !self.over {
            let stream = match &mut self.stream {
                Some(stream) => stream,
                none => none.insert(begin_operation(&self.client, &self.name, self.from).await?),
            };
            let told = heard(stream.message().await)?;
            if let Some(event) = told.and_then(|told| told.event) {
                self.from = event.sequence + 1;
                self.over = matches!(event.event, Some(Event::Ended(_)));
                return Ok(Some(event));
            }
            self.stream = None;
            sleep(PAUSE).await;
        }
        Ok(None)
    }
}

/// What came; nothing when the stream broke and another one may go on.
fn heard<T>(message: Result<Option<T>, tonic::Status>) -> Result<Option<T>, Failure> {
    message.or_else(|status| {
        let failure = Failure::from(status);
        if failure.is_retryable() {
            Ok(None)
        } else {
            Err(failure)
        }
    })
}

async fn begin_vms(client: &Client, token: &str) -> Result<Streaming<WatchVmsResponse>, Failure> {
    let begun = retry::until(client.deadline(), || {
        let request = WatchVmsRequest {
            resume_token: token.to_owned(),
        };
        let mut events = client.events();
        async move { events.watch_vms(request).await }
    });
    Ok(begun.await?.into_inner())
}

async fn begin_operation(
    client: &Client,
    name: &str,
    from_sequence: u64,
) -> Result<Streaming<WatchOperationResponse>, Failure> {
    let begun = retry::until(client.deadline(), || {
        let request = WatchOperationRequest {
            name: name.to_owned(),
            from_sequence,
        };
        let mut operations = client.operations();
        async move { operations.watch_operation(request).await }
    });
    Ok(begun.await?.into_inner())
}

impl Client {
    /// Watches virtual machines: as they are, and then what happens to them; with a
    /// resume token only what happened after that.
    #[must_use]
    pub fn watch_vms(&self, resume_token: &str) -> VmWatch {
        VmWatch {
            client: self.clone(),
            token: resume_token.to_owned(),
            stream: None,
        }
    }

    /// Watches an operation from the event with a number on, to its end.
    #[must_use]
    pub fn watch_operation(&self, name: &str, from_sequence: u64) -> OperationWatch {
        OperationWatch {
            client: self.clone(),
            name: name.to_owned(),
            from: from_sequence,
            over: false,
            stream: None,
        }
    }
}

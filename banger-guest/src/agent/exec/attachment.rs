//! One client of a session, from its first message to its leaving.

use std::{convert::Infallible, future::pending, sync::Arc, time::Duration};

use banger_proto::guest::v1::{
    AttachExec, AttachExecRequest, AttachExecResponse, attach_exec_request::Request,
    attach_exec_response::Response,
};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::{
    failure::SpawnError,
    session::Session,
    state::{State, Told},
};

/// How long a client may take to say which session it wants.
const FIRST_MESSAGE_PATIENCE: Duration = Duration::from_secs(30);

/// Where responses go.
type Responses = mpsc::Sender<Result<AttachExecResponse, Status>>;

/// The session that a client wants.
pub(super) async fn first_message(
    requests: &mut Streaming<AttachExecRequest>,
) -> Result<AttachExec, SpawnError> {
    let message = tokio::time::timeout(FIRST_MESSAGE_PATIENCE, requests.message()).await;
    match message {
        Ok(Ok(Some(AttachExecRequest {
            request: Some(Request::Attach(attach)),
        }))) => Ok(attach),
        Ok(Ok(_)) => Err(SpawnError::invalid("the first message is not `attach`")),
        Ok(Err(_)) => Err(SpawnError::invalid("the first message cannot be read")),
        Err(_) => Err(SpawnError::invalid("the first message did not come")),
    }
}

/// A client that joined.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) session: Arc<Session>,
    /// Its number with the session.
    pub(super) number: u64,
    /// What it has of the output.
    pub(super) offset: u64,
}

impl Client {
    /// Serves the client until it was told the exit, breaks the rules, is sent
    /// away, or is gone.
    pub(super) async fn serve(
        self,
        mut requests: Streaming<AttachExecRequest>,
        responses: Responses,
    ) {
        let attached = Response::Attached(self.session.attached());
        send(&responses, attached).await;
        let end = tokio::select! {
            end = self.tell(&responses) => end,
            misuse = self.obey(&mut requests) => misuse.map_or(Ok(()), |misuse| Err(misuse.into())),
            () = responses.closed() => Ok(()),
        };
        self.session.leave(self.number);
        if let Err(status) = end {
            // a full queue with a client that broke the rules: it gets no reason
            drop(responses.try_send(Err(status)));
        }
    }

    async fn tell(&self, responses: &Responses) -> Result<(), Status> {
        tokio::select! {
            end = self.tell_output(responses) => end,
            never = self.tell_accepted(responses) => match never {},
        }
    }

    /// Tells output and the exit. A place in the queue is had before anything
    /// is looked up.
    async fn tell_output(&self, responses: &Responses) -> Result<(), Status> {
        let mut state = self.session.state();
        let mut offset = self.offset;
        loop {
            let Ok(place) = responses.reserve().await else {
                // the client is gone, which is noticed elsewhere
                return pending().await;
            };
            let news = |state: &State| state.has_news(self.number, offset);
            let next = match state.wait_for(news).await {
                Ok(state) => state.next(self.number, offset),
                Err(_) => None,
            };
            match next {
                Some(Told::More(response, next)) => {
                    offset = next;
                    place.send(Ok(message(response)));
                }
                Some(Told::Exit(exit)) => {
                    place.send(Ok(message(Response::Exit(exit))));
                    self.session.tell();
                    return Ok(());
                }
                Some(Told::SentAway) => {
                    return Err(Status::aborted("another client joined the session"));
                }
                None => {}
            }
        }
    }

    async fn tell_accepted(&self, responses: &Responses) -> Infallible {
        let mut input = self.session.input();
        while input.changed().await.is_ok() {
            let accepted = input.borrow_and_update().accepted();
            send(responses, Response::Accepted(accepted)).await;
        }
        pending().await
    }

    /// Carries requests out until the client is gone or breaks the rules. One
    /// that closes its side just sends no more.
    async fn obey(&self, requests: &mut Streaming<AttachExecRequest>) -> Option<SpawnError> {
        loop {
            match requests.message().await {
                Ok(Some(request)) => {
                    if let Err(misuse) = self.carry_out(request) {
                        return Some(misuse);
                    }
                }
                Ok(None) => return pending().await,
                Err(_) => return None,
            }
        }
    }

    fn carry_out(&self, request: AttachExecRequest) -> Result<(), SpawnError> {
        let session = &self.session;
        match request.request {
            Some(Request::Input(input)) => session.take_input(&input)?,
            Some(Request::CloseStdin(_)) => session.close_input(),
            Some(Request::Resize(size)) => {
                let resized = session.resize(size);
                resized.map_err(SpawnError::resources("resize"))?;
            }
            Some(Request::Signal(signal)) => session.signal(signal)?,
            Some(Request::Acknowledged(offset)) => {
                session.acknowledge(self.number, offset);
            }
            Some(Request::Attach(_)) => return Err(SpawnError::invalid("a second `attach`")),
            None => return Err(SpawnError::invalid("a message without content")),
        }
        Ok(())
    }
}

const fn message(response: Response) -> AttachExecResponse {
    AttachExecResponse {
        response: Some(response),
    }
}

async fn send(responses: &Responses, response: Response) {
    // a client that is gone is noticed elsewhere
    drop(responses.send(Ok(message(response))).await);
}

//! `PortService`.
//!
//! Invariants: both directions of a connection are bounded and go at their own pace; a
//! connection ends with its call, and whatever is at work for it ends with that.

use std::{num::NonZeroU16, pin::Pin};

use banger_api::v1::{
    ConnectPortRequest, ConnectPortResponse, ConnectPortStart, DirectionFinished, PortConnected,
    connect_port_request::Message as Sent, connect_port_response::Message as Told,
    port_service_server::PortService,
};
use banger_core::{
    domain::Selector,
    vm::{ConnectError, GuestAddress, GuestConnection, StreamPiece},
};
use futures_util::{Stream, stream};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tonic::{Request, Response, Status, Streaming};

use super::{first::first_message, vm};
use crate::{
    backend::Front,
    fault::Fault,
    request::{Checks, caller, name::VMS},
};

/// Most bytes of one message.
const MAX_PIECE: usize = 65_536;

/// Over the core's machines.
#[derive(Debug)]
pub(crate) struct Ports(pub(crate) Front);

/// A connection whose client is told of it.
struct Telling {
    incoming: mpsc::Receiver<Result<StreamPiece, ConnectError>>,
    /// What is wrong with what the client sends; gone when nothing will be.
    problem: Option<oneshot::Receiver<Fault>>,
    is_open: bool,
    /// Passes on what the client sends; it ends with this.
    _feeding: JoinSet<()>,
}

impl Ports {
    async fn connect(
        &self,
        request: Request<Streaming<ConnectPortRequest>>,
    ) -> Result<Telling, Fault> {
        let hub = self.0.changing()?;
        let (caller, mut sent) = (caller(&request), request.into_inner());
        let (vm, address) = start(&mut sent).await?;
        let id = vm.strip_prefix("vms/").unwrap_or_default();
        let vm = vm::find(hub, &caller, id).await?;
        let vm = Selector::from(vm.id.to_string().as_str());
        let connected = hub.backend.vms.connect(&vm, address).await?;
        let GuestConnection { outgoing, incoming } = connected;
        let (complaint, problem) = oneshot::channel();
        let mut feeding = JoinSet::new();
        feeding.spawn(async move {
            if let Err(fault) = feed(sent, outgoing).await {
                // nobody may listen any more
                complaint.send(fault).ok();
            }
        });
        Ok(Telling {
            incoming,
            problem: Some(problem),
            is_open: false,
            _feeding: feeding,
        })
    }
}

/// The first message, checked.
async fn start(sent: &mut Streaming<ConnectPortRequest>) -> Result<(String, GuestAddress), Fault> {
    let first = first_message(sent).await;
    let mut checks = Checks::default();
    let Some(Sent::Start(start)) = first.and_then(|first| first.message) else {
        checks.violated("message", "the first message is no start");
        checks.finish()?;
        return Err(Fault::invalid(Vec::new()));
    };
    VMS.id("start.vm", &start.vm, &mut checks);
    let address = address(&start, &mut checks);
    checks.finish()?;
    // it is there, or the checks had not finished
    let address = address.ok_or_else(|| Fault::invalid(Vec::new()))?;
    Ok((start.vm, address))
}

fn address(start: &ConnectPortStart, checks: &mut Checks) -> Option<GuestAddress> {
    let port = u16::try_from(start.port).ok().and_then(NonZeroU16::new);
    if port.is_none() {
        checks.violated("start.port", "is not 1 to 65535");
    }
    let host = checks.parse_given("start.host", &start.host);
    port.map(|port| GuestAddress { host, port })
}

/// Passes on what the client sends. A stream that ends without a word closes the
/// connection.
async fn feed(
    mut sent: Streaming<ConnectPortRequest>,
    outgoing: mpsc::Sender<StreamPiece>,
) -> Result<(), Fault> {
    let mut finished = false;
    while let Ok(Some(message)) = sent.message().await {
        let piece = match message.message {
            Some(Sent::Data(data)) if data.len() <= MAX_PIECE && !finished => {
                StreamPiece::Data(data)
            }
            Some(Sent::Finish(_)) if !finished => StreamPiece::End,
            _ => {
                let mut checks = Checks::default();
                checks.violated("message", "is empty, too long, or out of order");
                return checks.finish();
            }
        };
        finished |= matches!(piece, StreamPiece::End);
        if outgoing.send(piece).await.is_err() {
            // the connection is over, which its other direction tells
            return Ok(());
        }
    }
    Ok(())
}

impl Telling {
    async fn next(&mut self) -> Result<Option<ConnectPortResponse>, Fault> {
        let message = if self.is_open {
            match self.piece().await? {
                Some(StreamPiece::Data(data)) => Told::Data(data),
                Some(StreamPiece::End) => Told::Finish(DirectionFinished {}),
                None => return Ok(None),
            }
        } else {
            self.is_open = true;
            Told::Connected(PortConnected {})
        };
        Ok(Some(ConnectPortResponse {
            message: Some(message),
        }))
    }

    async fn piece(&mut self) -> Result<Option<StreamPiece>, Fault> {
        if let Some(problem) = &mut self.problem {
            tokio::select! {
                piece = self.incoming.recv() => return Ok(piece.transpose()?),
                problem = problem => match problem {
                    Ok(fault) => return Err(fault),
                    // the client has said all
                    Err(_) => self.problem = None,
                },
            }
        }
        Ok(self.incoming.recv().await.transpose()?)
    }
}

type Connection = Pin<Box<dyn Stream<Item = Result<ConnectPortResponse, Status>> + Send>>;

#[tonic::async_trait]
impl PortService for Ports {
    type ConnectPortStream = Connection;

    async fn connect_port(
        &self,
        request: Request<Streaming<ConnectPortRequest>>,
    ) -> Result<Response<Connection>, Status> {
        let telling = self.connect(request).await?;
        let told = stream::try_unfold(telling, |mut telling| async {
            let message = telling.next().await?;
            Ok(message.map(|message| (message, telling)))
        });
        Ok(Response::new(Box::pin(told)))
    }
}

//! `banger vm port-forward`.
//!
//! Invariants: every task belongs to a set that ends with the command; at most
//! [`CONNECTIONS`] connections are open at a time, others wait to be accepted;
//! what goes wrong with one connection is said and does not end the others.

mod relay;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use banger_core::{
    domain::Selector,
    vm::{ConnectError, GuestAddress, VmSupervisor},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::sleep,
};

use crate::{
    args::PortForward,
    context::Context,
    error::CliError,
    exit,
    output::{ForwardOutput, forward_lines},
    signals::Signals,
};

/// Most connections at a time: fewer than a guest's agent serves calls.
const CONNECTIONS: usize = 100;
/// After a failure to accept.
const PAUSE: Duration = Duration::from_millis(100);

/// A client, where it wants to go, and its place among [`CONNECTIONS`].
type Accepted = (TcpStream, GuestAddress, OwnedSemaphorePermit);

pub(in crate::commands) async fn port_forward(
    context: &Context,
    signals: &mut Signals,
    vm: &Selector,
    ports: &[PortForward],
) -> Result<u8, CliError> {
    let vms = &context.services.vms;
    let found = vms.show(vm).await?;
    let vm = Selector::from(found.id.to_string().as_str());
    if found.state != banger_core::domain::VmState::Running {
        let (name, state) = (found.name, found.state);
        return Err(ConnectError::NotRunning { name, state }.into());
    }
    let listeners = listen(ports).await?;
    announce(context, &listeners).await?;
    let (sender, mut accepted) = mpsc::channel(1);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut tasks = JoinSet::new();
    for (listener, address) in listeners {
        tasks.spawn(accept(listener, address, places.clone(), sender.clone()));
    }
    let mut connections = JoinSet::new();
    let mut ended = vms.wait(&vm, None);
    loop {
        tokio::select! {
            Some(one) = accepted.recv() => {
                connections.spawn(serve(Arc::clone(vms), vm.clone(), one));
            }
            Some(done) = connections.join_next(), if !connections.is_empty() => {
                if let Ok(Err(Failed { error, client })) = done {
                    context.report(&error.into()).await;
                    drop(client);
                }
            }
            vm = &mut ended => {
                let (name, state) = vm.map(|vm| (vm.name, vm.state))?;
                return Err(ConnectError::NotRunning { name, state }.into());
            }
            // how it is meant to end
            _ = signals.asks.next() => return Ok(exit::SUCCESS),
        }
    }
}

/// Listens on every port, or on none.
async fn listen(ports: &[PortForward]) -> Result<Vec<(TcpListener, GuestAddress)>, CliError> {
    let mut listeners = Vec::new();
    for port in ports {
        let listener = TcpListener::bind(port.listen).await;
        let listener = listener.map_err(|source| CliError::Listen {
            address: port.listen,
            source,
        })?;
        let address = GuestAddress {
            host: None,
            port: port.guest,
        };
        listeners.push((listener, address));
    }
    Ok(listeners)
}

async fn announce(
    context: &Context,
    listeners: &[(TcpListener, GuestAddress)],
) -> Result<(), CliError> {
    let forward = |(listener, address): &(TcpListener, GuestAddress)| {
        let listen = listener.local_addr()?;
        Ok(ForwardOutput::new(listen, address.port))
    };
    let forwards: io::Result<Vec<ForwardOutput>> = listeners.iter().map(forward).collect();
    let forwards = forwards.map_err(|source| CliError::Listen {
        address: SocketAddr::from(([0; 4], 0)),
        source,
    })?;
    context.print(&forwards, || forward_lines(&forwards)).await
}

/// Accepts clients as long as somebody takes them.
async fn accept(
    listener: TcpListener,
    address: GuestAddress,
    places: Arc<Semaphore>,
    accepted: mpsc::Sender<Accepted>,
) {
    while let Ok(place) = places.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((client, _)) => {
                if accepted.send((client, address, place)).await.is_err() {
                    return;
                }
            }
            // a client that is gone already, or too many open files
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// A connection that went wrong. A client whose port nobody listens on is let
/// go once that was said.
#[derive(Debug)]
struct Failed {
    error: ConnectError,
    client: Option<TcpStream>,
}

async fn serve(
    vms: Arc<dyn VmSupervisor>,
    vm: Selector,
    (client, address, _place): Accepted,
) -> Result<(), Failed> {
    match vms.connect(&vm, address).await {
        Ok(connection) => {
            let relayed = relay::relay(client, connection).await;
            relayed.map_err(|error| Failed {
                error,
                client: None,
            })
        }
        Err(error) => Err(Failed {
            error,
            client: Some(client),
        }),
    }
}

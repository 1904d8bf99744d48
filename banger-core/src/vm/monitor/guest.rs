//! The monitor's own calls to the agent in the guest.

use std::time::{Duration, UNIX_EPOCH};

use banger_proto::{
    GUEST_GENERATION, OLDEST_GUEST_GENERATION,
    guest::v1::{
        HelloRequest, ListExecsRequest, PowerOffRequest, agent_service_client::AgentServiceClient,
    },
};
use rustix::rand::GetRandomFlags;
use tokio::{
    net::UnixStream,
    time::{sleep, timeout},
};
use tokio_util::task::TaskTracker;

use super::command;
use crate::{
    clock::Clock,
    vm::{
        boot_times::GuestTimes,
        http2::{Http2Client, connect, origin},
        in_words,
    },
    vmm::Channel,
};

/// An agent that answered.
#[derive(Debug)]
pub(super) struct Greeting {
    /// The connection to it.
    pub(super) client: Http2Client,
    /// The guest's boot id.
    pub(super) boot_id: String,
    /// What it says of its boot.
    pub(super) times: GuestTimes,
}

/// How long a running agent may take to answer on a new stream.
pub(super) const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
/// Between one stream and the next.
const PAUSE: Duration = Duration::from_millis(50);

/// An agent that could not be greeted.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It is too old to be understood.
    Outdated(String),
    /// The channel broke.
    Broken(String),
}

/// Random bytes that a guest is given.
const ENTROPY: usize = 32;
/// Longest boot id that is believed (a UUID has 36 characters).
const BOOT_ID_LIMIT: usize = 64;

/// Speaks to the agent at the other end of `channel`; waits until it answers.
pub(super) async fn greet(
    channel: UnixStream,
    tracker: &TaskTracker,
    clock: &dyn Clock,
) -> Result<Greeting, Refusal> {
    let client = connect(channel, tracker)
        .await
        .map_err(|error| Refusal::Broken(in_words(&error)))?;
    let mut agent = AgentServiceClient::with_origin(client.clone(), origin());
    let mut hello = async || {
        let answered = agent.hello(hello_request(clock)).await;
        answered.map_err(|status| Refusal::Broken(status.message().to_owned()))
    };
    let answer = hello().await?.into_inner();
    tracing::debug!("the agent answered");
    if answer.generation < OLDEST_GUEST_GENERATION {
        return Err(Refusal::Outdated(outdated(answer.generation)));
    }
    // the first request waited in the channel while the guest booted, so the
    // time it told is old by now
    hello().await?;
    let boot_id = answer.boot_id.chars().take(BOOT_ID_LIMIT).collect();
    Ok(Greeting {
        client,
        boot_id,
        times: GuestTimes {
            began_after: Duration::from_nanos(answer.began_after_nanos),
            ready_after: Duration::from_nanos(answer.ready_after_nanos),
        },
    })
}

/// Speaks to the agent of a machine that went on from a snapshot, or whose
/// channel broke: the agent may still sit on a stream that ended, and what is
/// said on a new one may be lost. Opens one after the other until it answers,
/// which may be never.
pub(super) async fn greet_anew(
    channel: &mut Channel,
    tracker: &TaskTracker,
    clock: &dyn Clock,
) -> Result<Greeting, Refusal> {
    loop {
        let opened = channel.open().await;
        let stream = opened.map_err(|error| Refusal::Broken(in_words(&error)))?;
        match timeout(ANSWER_PATIENCE, greet(stream, tracker, clock)).await {
            Ok(Ok(greeting)) => return Ok(greeting),
            Ok(Err(Refusal::Outdated(problem))) => return Err(Refusal::Outdated(problem)),
            Ok(Err(Refusal::Broken(problem))) => tracing::debug!(problem, "a new channel broke"),
            Err(_) => tracing::debug!("a new channel stays silent"),
        }
        sleep(PAUSE).await;
    }
}

/// Asks the agent to power the machine off.
pub(super) async fn power_off(client: Http2Client) -> Result<(), String> {
    let mut agent = AgentServiceClient::with_origin(client, origin());
    let answered = agent.power_off(PowerOffRequest {}).await;
    answered
        .map(drop)
        .map_err(|status| status.message().to_owned())
}

/// Whether commands run for clients in the guest, attached or not; what the
/// machine runs by itself is none. An agent that does not answer runs none.
pub(super) async fn has_commands(client: Http2Client) -> bool {
    let mut agent = AgentServiceClient::with_origin(client, origin());
    let listing = timeout(ANSWER_PATIENCE, agent.list_execs(ListExecsRequest {}));
    let Ok(Ok(listed)) = listing.await else {
        return false;
    };
    let mut execs = listed.into_inner().execs.into_iter();
    execs.any(|exec| exec.exit.is_none() && exec.exec_id != command::SESSION)
}

fn outdated(generation: u32) -> String {
    format!(
        "the guest program is older than banger: it speaks generation {generation} of the \
         protocol, and {OLDEST_GUEST_GENERATION} is the oldest that is understood"
    )
}

/// Random bytes; zeroes, which do no harm, where the host has none.
fn entropy() -> [u8; ENTROPY] {
    let mut bytes = [0; ENTROPY];
    if let Err(error) = rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty()) {
        tracing::warn!(%error, "the guest gets no entropy of the host's");
    }
    bytes
}

fn hello_request(clock: &dyn Clock) -> HelloRequest {
    let since_epoch = clock.now().duration_since(UNIX_EPOCH).unwrap_or_default();
    HelloRequest {
        generation: GUEST_GENERATION,
        unix_time_nanos: u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX),
        entropy: entropy().to_vec().into(),
    }
}

#[cfg(test)]
mod tests;

//! The monitor's own calls to the agent in the guest.

use std::time::UNIX_EPOCH;

use banger_proto::{
    GUEST_GENERATION,
    guest::v1::{HelloRequest, PowerOffRequest, agent_service_client::AgentServiceClient},
};
use tokio::net::UnixStream;
use tokio_util::task::TaskTracker;

use crate::{
    clock::Clock,
    vm::{
        http2::{Http2Client, connect, origin},
        in_words,
    },
};

/// An agent that answered.
#[derive(Debug)]
pub(super) struct Greeting {
    /// The connection to it.
    pub(super) client: Http2Client,
    /// The guest's boot id.
    pub(super) boot_id: String,
}

/// Longest boot id that is believed (a UUID has 36 characters).
const BOOT_ID_LIMIT: usize = 64;

/// Speaks to the agent at the other end of `channel`; waits until it answers.
pub(super) async fn greet(
    channel: UnixStream,
    tracker: &TaskTracker,
    clock: &dyn Clock,
) -> Result<Greeting, String> {
    let client = connect(channel, tracker)
        .await
        .map_err(|error| in_words(&error))?;
    let mut agent = AgentServiceClient::with_origin(client.clone(), origin());
    let mut hello = async || {
        let answered = agent.hello(hello_request(clock)).await;
        answered.map_err(|status| status.message().to_owned())
    };
    let answer = hello().await?.into_inner();
    if answer.generation == 0 {
        return Err("the agent speaks no generation of the protocol".to_owned());
    }
    // the first request waited in the channel while the guest booted, so the
    // time it told is old by now
    hello().await?;
    let boot_id = answer.boot_id.chars().take(BOOT_ID_LIMIT).collect();
    Ok(Greeting { client, boot_id })
}

/// Asks the agent to power the machine off.
pub(super) async fn power_off(client: Http2Client) -> Result<(), String> {
    let mut agent = AgentServiceClient::with_origin(client, origin());
    let answered = agent.power_off(PowerOffRequest {}).await;
    answered
        .map(drop)
        .map_err(|status| status.message().to_owned())
}

fn hello_request(clock: &dyn Clock) -> HelloRequest {
    let since_epoch = clock.now().duration_since(UNIX_EPOCH).unwrap_or_default();
    HelloRequest {
        generation: GUEST_GENERATION,
        unix_time_nanos: u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX),
    }
}

//! What streams cost the service on which nothing happens.

use std::time::Duration;

use banger_api::v1::{
    WatchVmsRequest, WatchVmsResponse, event_service_client::EventServiceClient,
    watch_vms_response::Message,
};
use tokio::time::{Instant, sleep};
use tonic::{Streaming, transport::Channel};

use crate::{
    Result, Samples, Server,
    process::{cpu, resident},
};

/// Streams of one connection: fewer than the calls that it may have.
const PER_CONNECTION: u32 = 125;

/// How much is watched.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The service's process.
    pub process: u32,
    /// Watchers that go on from where another one was.
    pub resumed: u32,
    /// Watchers that are told every machine first.
    pub told_all: u32,
    /// How long they do nothing.
    pub idle: Duration,
}

/// `WATCHERS/none`, `/idle` and `/closed`: KiB of memory of the service without, with
/// and after them; `WATCHERS/cpu` is what it takes of one CPU with them, in percent.
/// Watchers are `resumed` and `told-all`.
pub async fn measure(server: &Server, plan: &Plan) -> Result<Samples> {
    let channel = server.ready().await?;
    let mut samples = Samples::default();
    // the first one costs what all share
    let mut first = watch(&channel, String::new()).await?;
    let resume_token = told(&mut first).await?;
    for (name, count, token) in [
        ("resumed", plan.resumed, resume_token),
        ("told-all", plan.told_all, String::new()),
    ] {
        samples.add(format!("{name}/none"), resident(plan.process)?);
        let watchers = watchers(server, count, &token).await?;
        sleep(plan.idle).await;
        let (begun, had) = (Instant::now(), cpu(plan.process)?);
        sleep(plan.idle).await;
        let share = (cpu(plan.process)? - had) / begun.elapsed().as_secs_f64();
        samples.add(format!("{name}/cpu"), share * 100.0);
        samples.add(format!("{name}/idle"), resident(plan.process)?);
        drop(watchers);
        sleep(plan.idle).await;
        samples.add(format!("{name}/closed"), resident(plan.process)?);
    }
    drop(first);
    Ok(samples)
}

async fn watchers(
    server: &Server,
    count: u32,
    token: &str,
) -> Result<Vec<Streaming<WatchVmsResponse>>> {
    let mut watchers = Vec::new();
    let mut channel = server.connect().await?;
    for number in 0..count {
        if number != 0 && number.is_multiple_of(PER_CONNECTION) {
            channel = server.connect().await?;
        }
        let mut watcher = watch(&channel, token.to_owned()).await?;
        if token.is_empty() {
            told(&mut watcher).await?;
        }
        watchers.push(watcher);
    }
    Ok(watchers)
}

async fn watch(channel: &Channel, resume_token: String) -> Result<Streaming<WatchVmsResponse>> {
    let request = WatchVmsRequest { resume_token };
    let mut events = EventServiceClient::new(channel.clone());
    Ok(events.watch_vms(request).await?.into_inner())
}

/// Reads until everything there is was told; answers from where to go on.
async fn told(watcher: &mut Streaming<WatchVmsResponse>) -> Result<String> {
    loop {
        let message = watcher.message().await?.ok_or("a stream that ended")?;
        if let Some(Message::Bookmark(_)) = message.message {
            return Ok(message.resume_token);
        }
    }
}

//! What machines cost and what they wrote.
//!
//! Invariants: a log is read as its client takes it; a client that goes away ends
//! the reading.

use std::{pin::Pin, time::SystemTime};

use banger_api::{
    choices,
    v1::{self, GetVmStatsRequest, GetVmStatsResponse, ReadVmLogRequest, ReadVmLogResponse},
};
use banger_core::{
    domain::Selector,
    vm::{LogPosition, LogsRequest, RunningStats},
};
use futures_util::{Stream, stream};
use tonic::Status;

use super::vm::named;
use crate::{
    backend::Hub,
    caller::Caller,
    convert::{duration, vm::vm},
    fault::Fault,
    request::{Checks, name::VMS},
};

pub(super) async fn stats(
    hub: &Hub,
    caller: &Caller,
    request: &GetVmStatsRequest,
) -> Result<GetVmStatsResponse, Fault> {
    let id = selector(hub, caller, &request.name, Checks::default()).await?;
    let stats = hub.backend.vms.stats(&id).await?;
    Ok(GetVmStatsResponse {
        vm: Some(vm(&stats.vm)),
        on_disk_bytes: stats.disk.get(),
        running: stats.running.as_ref().map(running),
    })
}

fn running(stats: &RunningStats) -> v1::RunningStats {
    v1::RunningStats {
        cpu_time: duration(stats.cpu),
        memory_bytes: stats.memory.get(),
        monitor_memory_bytes: stats.monitor_memory.get(),
        read_bytes: stats.read.get(),
        written_bytes: stats.written.get(),
        calls: stats.calls,
        machine: Some(choices::metrics(stats.machine)),
    }
}

/// Pieces of a log.
pub(super) type LogPieces = Pin<Box<dyn Stream<Item = Result<ReadVmLogResponse, Status>> + Send>>;

pub(super) async fn log(
    hub: &Hub,
    caller: &Caller,
    request: &ReadVmLogRequest,
) -> Result<LogPieces, Fault> {
    let mut checks = Checks::default();
    let since = request.since.map(SystemTime::try_from).transpose();
    if since.is_err() {
        checks.violated("since", "is no time");
    }
    let after = checks.parse_given::<LogPosition>("after", &request.after);
    let id = selector(hub, caller, &request.name, checks).await?;
    let tail = (request.tail_lines != 0).then_some(request.tail_lines as usize);
    let wanted = LogsRequest {
        tail,
        since: since.ok().flatten(),
        follow: request.follow,
        after,
    };
    let log = hub.backend.vms.logs(&id, wanted).await?;
    let pieces = stream::try_unfold((log, 0), |(mut log, offset)| async move {
        let Some(chunk) = log.chunks.recv().await else {
            return Ok(None);
        };
        let chunk = chunk.map_err(Fault::from)?;
        let next = offset + chunk.bytes.len() as u64;
        let position = chunk.end.map(|end| end.to_string());
        let piece = ReadVmLogResponse {
            offset,
            data: chunk.bytes,
            position: position.unwrap_or_default(),
            gap: chunk.gap,
        };
        Ok(Some((piece, (log, next))))
    });
    Ok(Box::pin(pieces))
}

/// The machine that is meant, by its id.
async fn selector(
    hub: &Hub,
    caller: &Caller,
    name: &str,
    mut checks: Checks,
) -> Result<Selector, Fault> {
    VMS.id("name", name, &mut checks);
    checks.finish()?;
    let vm = named(hub, caller, name, "").await?;
    Ok(Selector::from(vm.id.to_string().as_str()))
}

//! What Firecracker counts (its `docs/metrics.md`): a line of JSON with what was
//! added since the line before, once a minute and when it is asked for.
//!
//! Purpose: the sums. Invariants: they come through a pipe that is read as long
//! as its machine is owned, so that nothing grows and no line is lost; a line
//! beyond its bound, or of another form, counts nothing; counts that are not
//! told are none. Entry points: [`Metrics::listen`], [`MetricsProbe::fresh`],
//! [`parse`].

use std::{collections::BTreeMap, io, os::fd::OwnedFd, sync::Arc, time::Duration};

use serde::Deserialize;
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, BufReader},
    net::unix::pipe::Receiver,
    sync::watch,
    task::JoinSet,
    time::timeout,
};

use super::{api::Action, client::Client};
use crate::vmm::VmmMetrics;

/// The pipe's name.
pub(super) const PIPE: &str = "metrics";
/// Most bytes of a line; those of 1.12 have some 8 KiB.
const LINE_LIMIT: usize = 256 * 1024;
/// How long an answer may take before what was counted last is taken.
const DEADLINE: Duration = Duration::from_secs(1);
/// How the counters of refused requests end.
const REFUSED: &str = "_fails";

/// The reading end of a machine's metrics.
#[derive(Debug)]
pub(super) struct Metrics {
    totals: watch::Receiver<VmmMetrics>,
    _reader: JoinSet<()>,
}

/// Asks for a machine's metrics.
#[derive(Clone, Debug)]
pub(crate) struct MetricsProbe {
    client: Arc<Client>,
    totals: watch::Receiver<VmmMetrics>,
}

impl Metrics {
    /// Adds up what comes out of the pipe.
    pub(super) fn listen(pipe: OwnedFd) -> io::Result<Self> {
        let (sums, totals) = watch::channel(VmmMetrics::default());
        let pipe = BufReader::new(Receiver::from_owned_fd(pipe)?);
        let mut reader = JoinSet::new();
        reader.spawn(add_up(pipe, sums));
        Ok(Self {
            totals,
            _reader: reader,
        })
    }

    pub(super) fn probe(&self, client: Arc<Client>) -> MetricsProbe {
        MetricsProbe {
            client,
            totals: self.totals.clone(),
        }
    }
}

impl MetricsProbe {
    /// What was counted until now; what was known last of a VMM that does not
    /// answer soon, as while it keeps its memory.
    pub(crate) async fn fresh(&self) -> VmmMetrics {
        let mut totals = self.totals.clone();
        totals.mark_unchanged();
        let asked = async {
            self.client.send(&Action::FlushMetrics).await?;
            // the pipe's end is the machine's
            totals.changed().await.ok();
            Ok::<_, crate::vmm::BackendError>(())
        };
        if !matches!(timeout(DEADLINE, asked).await, Ok(Ok(()))) {
            tracing::debug!("a VMM does not tell what it counted");
        }
        *self.totals.borrow()
    }
}

async fn add_up(mut pipe: impl AsyncBufRead + Unpin, sums: watch::Sender<VmmMetrics>) {
    let mut line = Vec::new();
    while let Ok(is_whole) = next_line(&mut pipe, &mut line).await {
        if let Some(since) = parse(&line).filter(|_| is_whole) {
            sums.send_modify(|total| total.add(&since));
        } else {
            tracing::debug!("a line of metrics is not understood");
        }
        line.clear();
    }
}

/// Reads a line; answers whether all of it was kept. The end is an error.
async fn next_line(pipe: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> io::Result<bool> {
    let mut is_whole = true;
    loop {
        let read = pipe.fill_buf().await?;
        if read.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let end = read.iter().position(|byte| *byte == b'\n');
        let piece = &read[..end.unwrap_or(read.len())];
        is_whole &= piece.len() <= LINE_LIMIT - line.len();
        if is_whole {
            line.extend_from_slice(piece);
        }
        let used = end.map_or(read.len(), |end| end + 1);
        pipe.consume(used);
        if end.is_some() {
            return Ok(is_whole);
        }
    }
}

/// A line, as far as it matters.
#[derive(Deserialize)]
struct Line {
    block: Option<Block>,
    net: Option<Traffic>,
    vsock: Option<Traffic>,
    vcpu: Option<Vcpu>,
    put_api_requests: Option<BTreeMap<String, u64>>,
    patch_api_requests: Option<BTreeMap<String, u64>>,
}

#[derive(Deserialize)]
struct Block {
    read_bytes: Option<u64>,
    write_bytes: Option<u64>,
    read_count: Option<u64>,
    write_count: Option<u64>,
}

/// As the guest has it.
#[derive(Deserialize)]
struct Traffic {
    rx_bytes_count: Option<u64>,
    tx_bytes_count: Option<u64>,
}

#[derive(Deserialize)]
struct Vcpu {
    #[serde(rename = "exit_io_in")]
    port_reads: Option<u64>,
    #[serde(rename = "exit_io_out")]
    port_writes: Option<u64>,
    #[serde(rename = "exit_mmio_read")]
    memory_reads: Option<u64>,
    #[serde(rename = "exit_mmio_write")]
    memory_writes: Option<u64>,
}

/// What a line says was counted; none of a line that is no such one. Pure.
pub(crate) fn parse(line: &[u8]) -> Option<VmmMetrics> {
    if LINE_LIMIT < line.len() {
        return None;
    }
    let line: Line = serde_json::from_slice(line).ok()?;
    let (block, net, vsock) = (line.block.as_ref(), line.net.as_ref(), line.vsock.as_ref());
    let exits = line.vcpu.and_then(|vcpu| {
        sum([
            vcpu.port_reads,
            vcpu.port_writes,
            vcpu.memory_reads,
            vcpu.memory_writes,
        ])
    });
    let refused = [line.put_api_requests, line.patch_api_requests];
    let refused = refused.map(|requests| {
        let requests = requests?;
        let failed = requests.iter().filter(|(name, _)| name.ends_with(REFUSED));
        sum(failed.map(|(_, count)| Some(*count)))
    });
    Some(VmmMetrics {
        disk_read_bytes: block.and_then(|block| block.read_bytes),
        disk_written_bytes: block.and_then(|block| block.write_bytes),
        disk_reads: block.and_then(|block| block.read_count),
        disk_writes: block.and_then(|block| block.write_count),
        network_received_bytes: net.and_then(|net| net.rx_bytes_count),
        network_sent_bytes: net.and_then(|net| net.tx_bytes_count),
        channel_received_bytes: vsock.and_then(|vsock| vsock.rx_bytes_count),
        channel_sent_bytes: vsock.and_then(|vsock| vsock.tx_bytes_count),
        exits,
        refused_requests: sum(refused),
    })
}

/// The sum of what is there; none when nothing is.
fn sum(counts: impl IntoIterator<Item = Option<u64>>) -> Option<u64> {
    counts.into_iter().flatten().reduce(u64::saturating_add)
}

#[cfg(test)]
mod tests;

//! What a machine did, as its VMM counted it.

/// What a machine did since its VMM was started; none where the VMM does not
/// count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VmmMetrics {
    /// Bytes that its disks were read by.
    pub disk_read_bytes: Option<u64>,
    /// Bytes that its disks were written by.
    pub disk_written_bytes: Option<u64>,
    /// Reads of its disks.
    pub disk_reads: Option<u64>,
    /// Writes to its disks.
    pub disk_writes: Option<u64>,
    /// Bytes that came to it by its network.
    pub network_received_bytes: Option<u64>,
    /// Bytes that it sent to its network.
    pub network_sent_bytes: Option<u64>,
    /// Bytes that came to it by its channel.
    pub channel_received_bytes: Option<u64>,
    /// Bytes that it sent to its channel.
    pub channel_sent_bytes: Option<u64>,
    /// How often a CPU left the guest for a device.
    pub exits: Option<u64>,
    /// Requests that its VMM refused.
    pub refused_requests: Option<u64>,
}

impl VmmMetrics {
    /// Adds what was counted since.
    pub(super) fn add(&mut self, since: &Self) {
        let add = |total: &mut Option<u64>, count: Option<u64>| {
            if let Some(count) = count {
                *total = Some(total.unwrap_or_default().saturating_add(count));
            }
        };
        add(&mut self.disk_read_bytes, since.disk_read_bytes);
        add(&mut self.disk_written_bytes, since.disk_written_bytes);
        add(&mut self.disk_reads, since.disk_reads);
        add(&mut self.disk_writes, since.disk_writes);
        add(
            &mut self.network_received_bytes,
            since.network_received_bytes,
        );
        add(&mut self.network_sent_bytes, since.network_sent_bytes);
        add(
            &mut self.channel_received_bytes,
            since.channel_received_bytes,
        );
        add(&mut self.channel_sent_bytes, since.channel_sent_bytes);
        add(&mut self.exits, since.exits);
        add(&mut self.refused_requests, since.refused_requests);
    }
}

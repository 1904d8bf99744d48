//! The messages of Firecracker's API, as far as banger needs them
//! (`src/firecracker/swagger/firecracker.yaml`).
//!
//! Invariants: only fields that every supported version knows; what is not
//! said has Firecracker's own default. Entry point: [`Request`].

use http::Method;
use serde::{Deserialize, Serialize};

/// A message that Firecracker answers with success or a fault.
pub(super) trait Request: Serialize {
    /// How it is sent.
    const METHOD: Method;
    /// The deadline's class.
    const EFFORT: Effort;

    /// Where it is sent.
    fn path(&self) -> String;
}

/// How much work a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effort {
    /// None to speak of.
    Little,
    /// Files are opened, CPUs started or stopped.
    Some,
    /// The machine's memory is written or read.
    Memory,
}

/// Size of the machine.
#[derive(Debug, Serialize)]
pub(super) struct MachineConfig {
    pub(super) vcpu_count: u32,
    pub(super) mem_size_mib: u64,
}

impl Request for MachineConfig {
    const METHOD: Method = Method::PUT;
    const EFFORT: Effort = Effort::Little;

    fn path(&self) -> String {
        "/machine-config".to_owned()
    }
}

/// What is booted.
#[derive(Debug, Serialize)]
pub(super) struct BootSource {
    pub(super) kernel_image_path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) initrd_path: Option<String>,
    pub(super) boot_args: String,
}

impl Request for BootSource {
    const METHOD: Method = Method::PUT;
    const EFFORT: Effort = Effort::Some;

    fn path(&self) -> String {
        "/boot-source".to_owned()
    }
}

/// A disk.
#[derive(Debug, Serialize)]
pub(super) struct Drive {
    #[serde(rename = "drive_id")]
    pub(super) id: String,
    pub(super) path_on_host: String,
    /// Adds `root=` to the kernel's command line.
    pub(super) is_root_device: bool,
    pub(super) is_read_only: bool,
    pub(super) cache_type: CacheType,
}

impl Request for Drive {
    const METHOD: Method = Method::PUT;
    const EFFORT: Effort = Effort::Some;

    fn path(&self) -> String {
        format!("/drives/{}", self.id)
    }
}

/// What a guest's flush does.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) enum CacheType {
    /// Nothing.
    Unsafe,
    /// The file is written back.
    Writeback,
}

/// The vsock device.
#[derive(Debug, Serialize)]
pub(super) struct Vsock {
    pub(super) guest_cid: u32,
    pub(super) uds_path: String,
}

impl Request for Vsock {
    const METHOD: Method = Method::PUT;
    const EFFORT: Effort = Effort::Little;

    fn path(&self) -> String {
        "/vsock".to_owned()
    }
}

/// A network interface.
#[derive(Debug, Serialize)]
pub(super) struct NetworkInterface {
    #[serde(rename = "iface_id")]
    pub(super) id: String,
    pub(super) guest_mac: String,
    /// A tap interface where the VMM lives.
    pub(super) host_dev_name: String,
}

impl Request for NetworkInterface {
    const METHOD: Method = Method::PUT;
    const EFFORT: Effort = Effort::Little;

    fn path(&self) -> String {
        format!("/network-interfaces/{}", self.id)
    }
}

/// The source of entropy.
#[derive(Debug, Serialize)]
pub(super) struct Entropy {}

impl Request for Entropy {
    const METHOD: Method = Method::PUT;
    const EFFORT: Effort = Effort::Little;

    fn path(&self) -> String {
        "/entropy".to_owned()
    }
}

/// Where what was counted is written to.
#[derive(Debug, Serialize)]
pub(super) struct MetricsPipe {
    pub(super) metrics_path: String,
}

impl Request for MetricsPipe {
    const METHOD: Method = Method::PUT;
    const EFFORT: Effort = Effort::Little;

    fn path(&self) -> String {
        "/metrics".to_owned()
    }
}

/// Something to be done.
#[derive(Debug, Serialize)]
#[serde(tag = "action_type")]
pub(super) enum Action {
    /// Starts the machine.
    InstanceStart,
    /// Types Ctrl-Alt-Del on the guest's keyboard (x86 only).
    SendCtrlAltDel,
    /// Writes what was counted since it last was.
    FlushMetrics,
}

impl Request for Action {
    const METHOD: Method = Method::PUT;
    const EFFORT: Effort = Effort::Some;

    fn path(&self) -> String {
        "/actions".to_owned()
    }
}

/// Whether the guest's time goes on.
#[derive(Debug, Serialize)]
#[serde(tag = "state")]
pub(super) enum VmState {
    /// It stands.
    Paused,
    /// It goes on.
    Resumed,
}

impl Request for VmState {
    const METHOD: Method = Method::PATCH;
    const EFFORT: Effort = Effort::Some;

    fn path(&self) -> String {
        "/vm".to_owned()
    }
}

/// Keeps a paused machine's state.
#[derive(Debug, Serialize)]
pub(super) struct CreateSnapshot {
    pub(super) snapshot_type: SnapshotType,
    pub(super) snapshot_path: String,
    pub(super) mem_file_path: String,
}

impl Request for CreateSnapshot {
    const METHOD: Method = Method::PUT;
    const EFFORT: Effort = Effort::Memory;

    fn path(&self) -> String {
        "/snapshot/create".to_owned()
    }
}

/// What a snapshot holds.
#[derive(Debug, Serialize)]
pub(super) enum SnapshotType {
    /// All memory.
    Full,
}

/// Goes on from a kept state.
#[derive(Debug, Serialize)]
pub(super) struct LoadSnapshot {
    pub(super) snapshot_path: String,
    pub(super) mem_backend: MemoryBackend,
    pub(super) resume_vm: bool,
}

impl Request for LoadSnapshot {
    const METHOD: Method = Method::PUT;
    const EFFORT: Effort = Effort::Memory;

    fn path(&self) -> String {
        "/snapshot/load".to_owned()
    }
}

/// Where a restored machine's memory comes from.
#[derive(Debug, Serialize)]
#[serde(tag = "backend_type", content = "backend_path")]
pub(super) enum MemoryBackend {
    /// A file that is mapped, and changed only in memory.
    File(String),
}

/// The answer to `GET /version`.
#[derive(Debug, Deserialize)]
pub(super) struct VersionAnswer {
    pub(super) firecracker_version: String,
}

/// The body of an answer that is no success.
#[derive(Debug, Deserialize)]
pub(super) struct Fault {
    pub(super) fault_message: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sent<R: Request>(request: &R) -> (String, serde_json::Value) {
        let line = format!("{} {}", R::METHOD, request.path());
        (line, serde_json::to_value(request).unwrap())
    }

    #[test]
    fn messages_are_those_of_the_description() {
        let drive = Drive {
            id: "disk0".to_owned(),
            path_on_host: "d".to_owned(),
            is_root_device: false,
            is_read_only: true,
            cache_type: CacheType::Unsafe,
        };
        let load = LoadSnapshot {
            snapshot_path: "s".to_owned(),
            mem_backend: MemoryBackend::File("m".to_owned()),
            resume_vm: true,
        };
        let cases = [
            (
                sent(&drive),
                "PUT /drives/disk0",
                json!({"drive_id": "disk0", "path_on_host": "d", "is_root_device": false,
                       "is_read_only": true, "cache_type": "Unsafe"}),
            ),
            (sent(&Entropy {}), "PUT /entropy", json!({})),
            (
                sent(&Action::SendCtrlAltDel),
                "PUT /actions",
                json!({"action_type": "SendCtrlAltDel"}),
            ),
            (
                sent(&VmState::Paused),
                "PATCH /vm",
                json!({"state": "Paused"}),
            ),
            (
                sent(&load),
                "PUT /snapshot/load",
                json!({"snapshot_path": "s", "resume_vm": true,
                       "mem_backend": {"backend_type": "File", "backend_path": "m"}}),
            ),
        ];
        for ((line, body), expected_line, expected_body) in cases {
            assert_eq!((line.as_str(), body), (expected_line, expected_body));
        }
    }
}

//! What a supervisor leaves for the monitor it starts: `launch.json`.
//!
//! Invariants: the file has a format number; it is written under the VM's lock
//! before the one monitor that reads it is started, in place, so that a crash
//! leaves no file beside it; a monitor refuses a format it does not know.
//! Entry points: [`Launch`].

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{purpose::Purpose, volumes::VolumeLock};
use crate::{
    directories::Directories,
    domain::{BackendChoice, BackendKind, Bytes, VmId},
    host_fs::{IoContext as _, PathError},
    step::reached,
    vmm::{Acceleration, ChosenBackend, ChosenJail, Disk, JailIds, Machine, MachineNetwork},
};

/// The format this build writes and reads.
const FORMAT: u32 = 3;

/// What a monitor is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Launch {
    pub(super) vm: VmId,
    pub(super) directories: Directories,
    pub(super) machine: Machine,
    pub(super) backend: ChosenBackend,
    /// Whether an agent will answer.
    pub(super) has_agent: bool,
    /// What is to be locked while the machine runs.
    pub(super) volumes: Vec<VolumeLock>,
    /// What the machine is for.
    pub(super) purpose: Purpose,
    /// The snapshot's directory from which it goes on; none boots it.
    pub(super) snapshot: Option<Utf8PathBuf>,
    /// How long it may take.
    pub(super) boot_deadline: Duration,
    /// Whether standard input is a lifeline, whose end ends the VM.
    pub(super) bound_to_caller: bool,
}

/// A launch file could not be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum LaunchError {
    #[error(transparent)]
    Io(#[from] PathError),
    #[error("{path} is not a launch file of format {FORMAT}: {problem}")]
    Malformed { path: Utf8PathBuf, problem: String },
}

impl Launch {
    /// Writes the file.
    pub(super) fn save(&self, path: &Utf8Path) -> Result<(), PathError> {
        let content = self.to_json().map_err(std::io::Error::other);
        let content = content.at("encode", path)?;
        std::fs::write(path, format!("{content:#}")).at("write", path)?;
        reached("wrote what a monitor is to run");
        Ok(())
    }

    /// What the file holds.
    pub(super) fn to_json(&self) -> serde_json::Result<Value> {
        serde_json::to_value(LaunchFile::from(self))
    }

    /// Reads what such a file holds; an error says what is wrong with it.
    pub(super) fn from_json(content: Value) -> Result<Self, String> {
        let words = |error: serde_json::Error| error.to_string();
        let Format { format } = Format::deserialize(&content).map_err(words)?;
        if format != FORMAT {
            return Err(format!("it has format {format}"));
        }
        let file: LaunchFile = serde_json::from_value(content).map_err(words)?;
        file.try_into()
    }

    /// Reads the file.
    pub(super) fn load(path: &Utf8Path) -> Result<Self, LaunchError> {
        let content = std::fs::read(path).at("read", path)?;
        decode(&content).map_err(|problem| LaunchError::Malformed {
            path: path.to_owned(),
            problem,
        })
    }
}

fn decode(content: &[u8]) -> Result<Launch, String> {
    let content = serde_json::from_slice(content).map_err(|error| error.to_string())?;
    Launch::from_json(content)
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LaunchFile {
    format: u32,
    vm: String,
    state_directory: String,
    cache_directory: String,
    runtime_directory: String,
    machine: MachineFile,
    backend: BackendFile,
    has_agent: bool,
    volumes: Vec<VolumeLock>,
    purpose: Purpose,
    snapshot: Option<String>,
    boot_deadline_millis: u64,
    bound_to_caller: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MachineFile {
    vcpus: u32,
    memory_bytes: u64,
    kernel: String,
    initrd: Option<String>,
    kernel_arguments: Option<String>,
    disks: Vec<DiskFile>,
    network: Option<NetworkFile>,
    time_stamp_khz: Option<u64>,
    channel_port: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskFile {
    path: String,
    serial: String,
    read_only: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NetworkFile {
    hardware_address: String,
    ports: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BackendFile {
    kind: String,
    reason: String,
    program: String,
    acceleration: AccelerationName,
    network_helper: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jail: Option<JailFile>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JailFile {
    program: String,
    first_id: u32,
    last_id: u32,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AccelerationName {
    Kvm,
    Software,
}

impl From<&Launch> for LaunchFile {
    fn from(launch: &Launch) -> Self {
        Self {
            format: FORMAT,
            vm: launch.vm.to_string(),
            state_directory: launch.directories.state.to_string(),
            cache_directory: launch.directories.cache.to_string(),
            runtime_directory: launch.directories.runtime.to_string(),
            machine: (&launch.machine).into(),
            backend: (&launch.backend).into(),
            has_agent: launch.has_agent,
            volumes: launch.volumes.clone(),
            purpose: launch.purpose.clone(),
            snapshot: launch.snapshot.as_ref().map(ToString::to_string),
            boot_deadline_millis: u64::try_from(launch.boot_deadline.as_millis())
                .unwrap_or(u64::MAX),
            bound_to_caller: launch.bound_to_caller,
        }
    }
}

impl TryFrom<LaunchFile> for Launch {
    type Error = String;

    fn try_from(file: LaunchFile) -> Result<Self, String> {
        Ok(Self {
            vm: file.vm.parse().map_err(|error| format!("{error}"))?,
            directories: Directories {
                state: file.state_directory.into(),
                cache: file.cache_directory.into(),
                runtime: file.runtime_directory.into(),
            },
            machine: file.machine.try_into()?,
            backend: file.backend.try_into()?,
            has_agent: file.has_agent,
            volumes: file.volumes,
            purpose: file.purpose,
            snapshot: file.snapshot.map(Into::into),
            boot_deadline: Duration::from_millis(file.boot_deadline_millis),
            bound_to_caller: file.bound_to_caller,
        })
    }
}

impl From<&Machine> for MachineFile {
    fn from(machine: &Machine) -> Self {
        let disk = |disk: &Disk| DiskFile {
            path: disk.path.to_string(),
            serial: disk.serial.clone(),
            read_only: disk.read_only,
        };
        Self {
            vcpus: machine.vcpus,
            memory_bytes: machine.memory.get(),
            kernel: machine.kernel.to_string(),
            initrd: machine.initrd.as_ref().map(ToString::to_string),
            kernel_arguments: machine.kernel_arguments.clone(),
            disks: machine.disks.iter().map(disk).collect(),
            network: machine.network.as_ref().map(NetworkFile::from),
            time_stamp_khz: machine.time_stamp_khz,
            channel_port: machine.channel_port.clone(),
        }
    }
}

impl TryFrom<MachineFile> for Machine {
    type Error = String;

    fn try_from(file: MachineFile) -> Result<Self, String> {
        let disk = |disk: DiskFile| Disk {
            path: disk.path.into(),
            serial: disk.serial,
            read_only: disk.read_only,
        };
        Ok(Self {
            vcpus: file.vcpus,
            memory: Bytes::new(file.memory_bytes),
            kernel: file.kernel.into(),
            initrd: file.initrd.map(Into::into),
            kernel_arguments: file.kernel_arguments,
            disks: file.disks.into_iter().map(disk).collect(),
            network: file.network.map(MachineNetwork::try_from).transpose()?,
            time_stamp_khz: file.time_stamp_khz,
            channel_port: file.channel_port,
        })
    }
}

impl From<&MachineNetwork> for NetworkFile {
    fn from(network: &MachineNetwork) -> Self {
        Self {
            hardware_address: network.hardware_address.to_string(),
            ports: network.ports.iter().map(ToString::to_string).collect(),
        }
    }
}

impl TryFrom<NetworkFile> for MachineNetwork {
    type Error = String;

    fn try_from(file: NetworkFile) -> Result<Self, String> {
        let port = |text: &String| text.parse().map_err(|error| format!("{error}"));
        Ok(Self {
            hardware_address: file.hardware_address.parse()?,
            ports: file.ports.iter().map(port).collect::<Result<_, _>>()?,
        })
    }
}

impl From<&ChosenBackend> for BackendFile {
    fn from(backend: &ChosenBackend) -> Self {
        Self {
            kind: backend.choice.kind.as_str().to_owned(),
            reason: backend.choice.reason.clone(),
            program: backend.program.to_string(),
            acceleration: match backend.acceleration {
                Acceleration::Kvm => AccelerationName::Kvm,
                Acceleration::Software => AccelerationName::Software,
            },
            network_helper: backend.network_helper.as_ref().map(ToString::to_string),
            jail: backend.jail.as_ref().map(|jail| JailFile {
                program: jail.program.to_string(),
                first_id: jail.ids.first(),
                last_id: jail.ids.last(),
            }),
        }
    }
}

impl TryFrom<BackendFile> for ChosenBackend {
    type Error = String;

    fn try_from(file: BackendFile) -> Result<Self, String> {
        let known = BackendKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == file.kind);
        Ok(Self {
            choice: BackendChoice {
                kind: known.ok_or_else(|| format!("backend {:?} is unknown", file.kind))?,
                reason: file.reason,
            },
            program: file.program.into(),
            acceleration: match file.acceleration {
                AccelerationName::Kvm => Acceleration::Kvm,
                AccelerationName::Software => Acceleration::Software,
            },
            network_helper: file.network_helper.map(Into::into),
            jail: file.jail.map(ChosenJail::try_from).transpose()?,
        })
    }
}

impl TryFrom<JailFile> for ChosenJail {
    type Error = String;

    fn try_from(file: JailFile) -> Result<Self, String> {
        let JailFile {
            program,
            first_id,
            last_id,
        } = file;
        let ids = JailIds::new(first_id, last_id);
        Ok(Self {
            program: program.into(),
            ids: ids.ok_or_else(|| format!("{first_id} to {last_id} are no users of jails"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::purpose::MachineCommand;

    fn launch() -> Launch {
        Launch {
            vm: VmId::generate(),
            directories: Directories {
                state: "/s".into(),
                cache: "/c".into(),
                runtime: "/r".into(),
            },
            machine: Machine {
                vcpus: 2,
                memory: Bytes::from_mib(256),
                kernel: "/k".into(),
                initrd: Some("/i".into()),
                kernel_arguments: Some("root=/dev/vda".to_owned()),
                disks: vec![Disk {
                    path: "/d,1".into(),
                    serial: "base".to_owned(),
                    read_only: true,
                }],
                network: Some(MachineNetwork {
                    hardware_address: "02:00:00:00:00:01".parse().unwrap(),
                    ports: vec!["8080:80/udp".parse().unwrap()],
                }),
                time_stamp_khz: Some(1_000_000),
                channel_port: "port".to_owned(),
            },
            backend: ChosenBackend {
                choice: BackendChoice {
                    kind: BackendKind::Qemu,
                    reason: "KVM is usable".to_owned(),
                },
                program: "/usr/bin/qemu".into(),
                acceleration: Acceleration::Kvm,
                network_helper: Some("/usr/bin/slirp".into()),
                jail: Some(ChosenJail {
                    program: "/usr/bin/jailer".into(),
                    ids: JailIds::default(),
                }),
            },
            has_agent: true,
            volumes: vec![VolumeLock {
                name: "data".to_owned(),
                disk: "/v/data".to_owned(),
                exclusive: true,
            }],
            purpose: Purpose {
                command: Some(MachineCommand {
                    argv: vec!["/bin/sh".to_owned()],
                    env: Vec::new(),
                    working_directory: "/".to_owned(),
                    user: "app".to_owned(),
                    stop_signal: 15,
                }),
                reason: "its command runs".to_owned(),
            },
            snapshot: Some("/s/snapshots/1".into()),
            boot_deadline: Duration::from_millis(1500),
            bound_to_caller: true,
        }
    }

    #[test]
    fn a_launch_file_round_trips() {
        let scratch = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(scratch.path())
            .unwrap()
            .join("launch.json");
        let launch = launch();
        launch.save(&path).unwrap();
        assert_eq!(Launch::load(&path).unwrap(), launch);
    }

    #[test]
    fn other_formats_and_unknown_fields_are_refused() {
        let valid = serde_json::to_value(LaunchFile::from(&launch())).unwrap();
        let mut newer = valid.clone();
        newer["format"] = 4.into();
        let mut unknown = valid.clone();
        unknown["surprise"] = true.into();
        let mut foreign = valid;
        foreign["backend"]["kind"] = "hypervisor".into();
        let mut root = newer.clone();
        root["format"] = FORMAT.into();
        root["backend"]["jail"]["first_id"] = 0.into();
        for (value, word) in [
            (newer, "format 4"),
            (unknown, "surprise"),
            (foreign, "hypervisor"),
            (root, "0 to"),
        ] {
            let problem = decode(value.to_string().as_bytes()).unwrap_err();
            assert!(problem.contains(word), "{problem}");
        }
        assert!(decode(b"{").is_err());
    }
}

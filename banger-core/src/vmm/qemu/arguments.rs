//! A machine description as QEMU's arguments. Pure.

use std::{fmt::Write as _, os::fd::RawFd};

use camino::Utf8Path;

use super::super::{
    Acceleration, Disk, Machine, MachineNetwork,
    network::plan::{GATEWAY, GUEST, NETWORK, PREFIX, RESOLVER},
};

/// The guest kernel's command line. `panic=-1` with `reboot=t` and QEMU's
/// `-no-reboot` makes a panic end the machine at once; only warnings and worse
/// are printed, because each line costs an emulated serial port's time.
const KERNEL_COMMAND_LINE: &str = "console=ttyS0 reboot=t panic=-1 quiet";

/// What QEMU may no longer do once it runs (QEMU manual, `-sandbox`).
const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// The numbers that sockets have in QEMU's process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descriptors {
    /// The guest's channel.
    pub(super) channel: ChannelEnd,
    /// The control channel.
    pub(super) control: RawFd,
    /// The state that the machine goes on from.
    pub(super) incoming: Option<RawFd>,
}

/// QEMU's end of the channel.
#[derive(Clone, Copy, Debug)]
pub(super) enum ChannelEnd {
    /// Connected to the other end.
    Connected(RawFd),
    /// Listening: one connection at a time, and another when it ends.
    Listening(RawFd),
}

/// The arguments for a machine. The console is QEMU's standard output.
pub(super) fn arguments(
    machine: &Machine,
    acceleration: Acceleration,
    descriptors: Descriptors,
) -> Vec<String> {
    let mut arguments = Arguments::default();
    arguments.base(machine, acceleration);
    for (index, disk) in machine.disks.iter().enumerate() {
        arguments.disk(index, disk);
    }
    if let Some(network) = &machine.network {
        arguments.network(network);
    }
    arguments.channel(&machine.channel_port, descriptors.channel);
    arguments.control(descriptors.control);
    arguments.option("-device", "virtio-rng-device");
    if let Some(descriptor) = descriptors.incoming {
        arguments.option("-incoming", format!("fd:{descriptor}"));
    }
    arguments.0
}

#[derive(Default)]
struct Arguments(Vec<String>);

impl Arguments {
    fn flag(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    fn option(&mut self, name: &str, value: impl Into<String>) {
        self.flag(name);
        self.0.push(value.into());
    }

    fn base(&mut self, machine: &Machine, acceleration: Acceleration) {
        let (accelerator, cpu) = match acceleration {
            Acceleration::Kvm => ("kvm", "host"),
            Acceleration::Software => ("tcg", "max"),
        };
        for flag in ["-nodefaults", "-no-user-config", "-nographic", "-no-reboot"] {
            self.flag(flag);
        }
        self.option("-sandbox", SANDBOX);
        let platform = format!("microvm,accel={accelerator},acpi=on,rtc=on,pic=off");
        self.option("-M", platform);
        self.option("-cpu", cpu);
        self.option("-smp", machine.vcpus.to_string());
        self.option("-m", format!("{}M", machine.memory.to_mib_ceiling()));
        self.option("-kernel", machine.kernel.as_str());
        if let Some(initrd) = &machine.initrd {
            self.option("-initrd", initrd.as_str());
        }
        self.option("-append", kernel_command_line(machine));
        self.option("-chardev", "stdio,id=console,signal=off");
        self.option("-serial", "chardev:console");
    }

    fn disk(&mut self, index: usize, disk: &Disk) {
        // QEMU's own locks keep a second VMM off a disk that is written, should
        // one outlive its monitor for a moment; on a shared base they would
        // only keep its user from changing it.
        let access = if disk.read_only {
            "read-only=on,locking=off"
        } else {
            "discard=unmap,locking=on"
        };
        let block = format!(
            "driver=file,node-name=disk{index},filename={},{access}",
            escaped(&disk.path)
        );
        self.option("-blockdev", block);
        // a full disk of the host is an error to the guest, not a halt for ever
        let on_error = if disk.read_only { "" } else { ",werror=report" };
        let device = format!(
            "virtio-blk-device,drive=disk{index},serial={}{on_error}",
            disk.serial
        );
        self.option("-device", device);
    }

    /// One that was asked for in vain says so and ends QEMU.
    fn network(&mut self, network: &MachineNetwork) {
        let mut backend = format!(
            "user,id=network,ipv6=off,net={NETWORK}/{PREFIX},host={GATEWAY},dns={RESOLVER},\
             dhcpstart={GUEST}"
        );
        for port in &network.ports {
            let (protocol, address) = (port.protocol.as_str(), port.address);
            let (host, guest) = (port.host, port.guest);
            let _ = write!(
                backend,
                ",hostfwd={protocol}:{address}:{host}-{GUEST}:{guest}"
            );
        }
        self.option("-netdev", backend);
        let mac = network.hardware_address;
        self.option(
            "-device",
            format!("virtio-net-device,netdev=network,mac={mac}"),
        );
    }

    fn channel(&mut self, port: &str, end: ChannelEnd) {
        self.option("-device", "virtio-serial-device,max_ports=2");
        let socket = match end {
            ChannelEnd::Connected(descriptor) => format!("fd={descriptor}"),
            ChannelEnd::Listening(descriptor) => format!("fd={descriptor},server=on,wait=off"),
        };
        self.option("-chardev", format!("socket,id=channel,{socket}"));
        // port 0 is kept for consoles
        let device = format!("virtserialport,chardev=channel,name={port},nr=1");
        self.option("-device", device);
    }

    fn control(&mut self, descriptor: RawFd) {
        self.option("-chardev", format!("socket,id=control,fd={descriptor}"));
        self.option("-mon", "chardev=control,mode=control");
    }
}

/// `tsc_early_khz` (Linux Documentation/admin-guide/kernel-parameters.txt)
/// spares an emulated guest a measurement that fails on a busy host, and
/// `tsc=reliable` a comparison between CPUs that does so too: all of them read
/// the host's one counter.
fn kernel_command_line(machine: &Machine) -> String {
    let speed = machine.time_stamp_khz;
    let speed = speed.map(|khz| format!("tsc=reliable tsc_early_khz={khz}"));
    let parts = [
        Some(KERNEL_COMMAND_LINE),
        speed.as_deref(),
        machine.kernel_arguments.as_deref(),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// A value in QEMU's option syntax, where a comma is written twice.
fn escaped(path: &Utf8Path) -> String {
    path.as_str().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Bytes;

    const DESCRIPTORS: Descriptors = Descriptors {
        channel: ChannelEnd::Connected(7),
        control: 8,
        incoming: None,
    };

    fn machine() -> Machine {
        Machine {
            vcpus: 2,
            memory: Bytes::from_mib(512),
            kernel: "/k/vmlinux".into(),
            initrd: Some("/v/initrd.img".into()),
            kernel_arguments: Some("root=/dev/vda".to_owned()),
            disks: vec![
                Disk {
                    path: "/i/root,fs.ext4".into(),
                    serial: "base".to_owned(),
                    read_only: true,
                },
                Disk {
                    path: "/v/writable.ext4".into(),
                    serial: "writable".to_owned(),
                    read_only: false,
                },
            ],
            network: None,
            time_stamp_khz: Some(2_600_000),
            channel_port: "banger.agent".to_owned(),
        }
    }

    fn values(arguments: &[String], option: &str) -> Vec<String> {
        let pairs = arguments.windows(2);
        pairs
            .filter(|pair| pair[0] == option)
            .map(|pair| pair[1].clone())
            .collect()
    }

    #[test]
    fn the_machine_becomes_arguments() {
        let arguments = arguments(&machine(), Acceleration::Software, DESCRIPTORS);
        let cases: [(&str, &[&str]); 11] = [
            (
                "-append",
                &[
                    "console=ttyS0 reboot=t panic=-1 quiet tsc=reliable tsc_early_khz=2600000 root=/dev/vda",
                ],
            ),
            ("-M", &["microvm,accel=tcg,acpi=on,rtc=on,pic=off"]),
            ("-cpu", &["max"]),
            ("-smp", &["2"]),
            ("-m", &["512M"]),
            ("-kernel", &["/k/vmlinux"]),
            ("-initrd", &["/v/initrd.img"]),
            (
                "-blockdev",
                &[
                    "driver=file,node-name=disk0,filename=/i/root,,fs.ext4,read-only=on,locking=off",
                    "driver=file,node-name=disk1,filename=/v/writable.ext4,discard=unmap,locking=on",
                ],
            ),
            (
                "-chardev",
                &[
                    "stdio,id=console,signal=off",
                    "socket,id=channel,fd=7",
                    "socket,id=control,fd=8",
                ],
            ),
            ("-mon", &["chardev=control,mode=control"]),
            (
                "-device",
                &[
                    "virtio-blk-device,drive=disk0,serial=base",
                    "virtio-blk-device,drive=disk1,serial=writable,werror=report",
                    "virtio-serial-device,max_ports=2",
                    "virtserialport,chardev=channel,name=banger.agent,nr=1",
                    "virtio-rng-device",
                ],
            ),
        ];
        for (option, expected) in cases {
            assert_eq!(values(&arguments, option), expected, "{option}");
        }
        assert!(arguments.contains(&"-no-reboot".to_owned()));
    }

    #[test]
    fn a_network_is_slirps_with_its_ports_on_the_hosts_side() {
        let mut machine = machine();
        let without = arguments(&machine, Acceleration::Kvm, DESCRIPTORS);
        assert_eq!(values(&without, "-netdev"), [""; 0]);
        let ports = ["127.0.0.1:8080:80", "0.0.0.0:53:5353/udp"];
        machine.network = Some(MachineNetwork {
            hardware_address: "02:00:00:00:00:07".parse().unwrap(),
            ports: ports.map(|port| port.parse().unwrap()).to_vec(),
        });
        let arguments = arguments(&machine, Acceleration::Kvm, DESCRIPTORS);
        let backend = "user,id=network,ipv6=off,net=10.0.2.0/24,host=10.0.2.2,dns=10.0.2.3,\
            dhcpstart=10.0.2.15,hostfwd=tcp:127.0.0.1:8080-10.0.2.15:80,\
            hostfwd=udp:0.0.0.0:53-10.0.2.15:5353";
        assert_eq!(values(&arguments, "-netdev"), [backend]);
        let device = "virtio-net-device,netdev=network,mac=02:00:00:00:00:07".to_owned();
        assert!(values(&arguments, "-device").contains(&device));
    }

    #[test]
    fn a_restored_machine_has_a_state_and_a_channel_that_listens() {
        let descriptors = Descriptors {
            channel: ChannelEnd::Listening(9),
            control: 8,
            incoming: Some(10),
        };
        let restored = arguments(&machine(), Acceleration::Software, descriptors);
        assert_eq!(values(&restored, "-incoming"), ["fd:10"]);
        let channel = "socket,id=channel,fd=9,server=on,wait=off";
        assert!(values(&restored, "-chardev").contains(&channel.to_owned()));
        let booted = arguments(&machine(), Acceleration::Software, DESCRIPTORS);
        assert!(values(&booted, "-incoming").is_empty());
    }

    #[test]
    fn kvm_uses_the_hosts_cpu_and_odd_memory_is_rounded_up() {
        let mut machine = machine();
        machine.memory = Bytes::new(64 * Bytes::MIB + 1);
        let arguments = arguments(&machine, Acceleration::Kvm, DESCRIPTORS);
        assert_eq!(values(&arguments, "-cpu"), ["host"]);
        assert_eq!(values(&arguments, "-m"), ["65M"]);
        assert!(values(&arguments, "-M")[0].contains("accel=kvm"));
    }
}

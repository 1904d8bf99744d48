//! A machine description as QEMU's arguments. Pure.

use std::os::fd::RawFd;

use camino::Utf8Path;

use super::super::{Acceleration, Disk, Machine};

/// The guest kernel's command line. `panic=-1` with `reboot=t` and QEMU's
/// `-no-reboot` makes a panic end the machine at once; only warnings and worse
/// are printed, because each line costs an emulated serial port's time.
const KERNEL_COMMAND_LINE: &str = "console=ttyS0 reboot=t panic=-1 quiet";

/// What QEMU may no longer do once it runs (QEMU manual, `-sandbox`).
const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// The numbers that sockets have in QEMU's process.
#[derive(Clone, Copy, Debug)]
pub(in crate::vmm) struct Descriptors {
    /// The guest's channel.
    pub(in crate::vmm) channel: RawFd,
    /// The control channel.
    pub(in crate::vmm) control: RawFd,
}

/// The arguments for a machine. The console is QEMU's standard output.
pub(in crate::vmm) fn arguments(
    machine: &Machine,
    acceleration: Acceleration,
    descriptors: Descriptors,
) -> Vec<String> {
    let mut arguments = Arguments::default();
    arguments.base(machine, acceleration);
    for (index, disk) in machine.disks.iter().enumerate() {
        arguments.disk(index, disk);
    }
    arguments.channel(&machine.channel_port, descriptors.channel);
    arguments.control(descriptors.control);
    arguments.option("-device", "virtio-rng-device");
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
        self.option("-initrd", machine.initrd.as_str());
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
        let device = format!("virtio-blk-device,drive=disk{index},serial={}", disk.serial);
        self.option("-device", device);
    }

    fn channel(&mut self, port: &str, descriptor: RawFd) {
        self.option("-device", "virtio-serial-device,max_ports=2");
        self.option("-chardev", format!("socket,id=channel,fd={descriptor}"));
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
    match machine.time_stamp_khz {
        Some(khz) => format!("{KERNEL_COMMAND_LINE} tsc=reliable tsc_early_khz={khz}"),
        None => KERNEL_COMMAND_LINE.to_owned(),
    }
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
        channel: 7,
        control: 8,
    };

    fn machine() -> Machine {
        Machine {
            vcpus: 2,
            memory: Bytes::from_mib(512),
            kernel: "/k/vmlinux".into(),
            initrd: "/v/initrd.img".into(),
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
                &["console=ttyS0 reboot=t panic=-1 quiet tsc=reliable tsc_early_khz=2600000"],
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
                    "virtio-blk-device,drive=disk1,serial=writable",
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
    fn kvm_uses_the_hosts_cpu_and_odd_memory_is_rounded_up() {
        let mut machine = machine();
        machine.memory = Bytes::new(64 * Bytes::MIB + 1);
        let arguments = arguments(&machine, Acceleration::Kvm, DESCRIPTORS);
        assert_eq!(values(&arguments, "-cpu"), ["host"]);
        assert_eq!(values(&arguments, "-m"), ["65M"]);
        assert!(values(&arguments, "-M")[0].contains("accel=kvm"));
    }
}

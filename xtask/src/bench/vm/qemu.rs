//! Starting guests on QEMU: banger beside QEMU by hand.
//!
//! A tiny guest shows what banger adds: nothing else takes its time. Linux
//! shows what that is of a whole boot; emulated, two boots of it differ by more
//! than banger takes, so there only banger's own parts are compared with the target.
//! The end point with Linux is the agent's answer. By hand it is the
//! acknowledgement by which an HTTP/2 server answers a client's settings (RFC
//! 9113, 6.5.3), on the channel that banger's monitor uses; banger's `vm start`
//! ends after that with a question to the agent, the record and its own end.
//! Invariants: by hand QEMU gets the very command line that banger gave it once,
//! with the same kernel, initrd and base disk; the disk that takes the writes
//! is a new one each time on both sides.

use std::{
    io::{self, Read, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    process::ChildStdout,
    time::{Duration, Instant},
};

use rustix::io::{FdFlags, fcntl_setfd};

use super::{
    by_hand::Vmm,
    host::{Host, Machine, milliseconds},
    processes::arguments,
    report::Section,
    start::{Comparison, Start, log, start},
    timeline::{AGENT_ANSWERED, LAUNCHED, vmm},
    tiny,
};
use crate::{Result, paths::testbed};

/// banger's own cost on top of QEMU.
const TARGET: f64 = 60.0;
/// How long a guest by hand may take.
const DEADLINE: Duration = Duration::from_mins(2);
/// An HTTP/2 client's first words: the preface and settings without any (RFC
/// 9113, 3.4 and 6.5).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Most bytes of a frame that is read.
const FRAME_LIMIT: usize = 16 * 1024;

const BACKEND: &str = "qemu";
const IMAGE: &str = "small";
const OPTIONS: [&str; 4] = ["--network", "none", "--backend", BACKEND];

/// The files of a machine that QEMU by hand must not share with another.
const WRITABLE: &str = "writable.ext4";

/// Of a tiny guest.
pub(super) fn measure_tiny(host: &Host, rounds: u16) -> Result<Section> {
    tiny::register(host)?;
    let template = tiny::create(host, "template", BACKEND)?;
    start(host, &template, LAUNCHED, || Ok(()))?;
    let command_line = arguments(vmm(&log(&template)?)?)?;
    host.text(&["vm", "kill", &template.name])?;
    let old = tiny::disk(&template)?;
    let comparison = Comparison::measure(
        "QEMU, tiny guest",
        rounds,
        |_| tiny::by_banger(host, BACKEND),
        |_| {
            let machine = tiny::create(host, "by-hand", BACKEND)?;
            let disks = (old.as_path(), tiny::disk(&machine)?);
            by_hand(&command_line, (disks.0, &disks.1), first_word)
        },
    )?;
    Ok(Section {
        title: "Start of a tiny guest on QEMU".to_owned(),
        notes: vec![
            "bare: QEMU with the command line, kernel and disk of banger, until its guest's first word".to_owned(),
            "banger: the whole program, until it ended and the word is in the console's log".to_owned(),
        ],
        rows: comparison.rows("the machine was launched", Some(TARGET), TARGET)?,
    })
}

/// Of a Linux guest.
pub(super) fn measure(host: &Host, rounds: u16) -> Result<Section> {
    host.pull(&testbed().join("busybox"), IMAGE)?;
    // kept to the end: its kernel command line, initrd and disks are used
    let template = Machine::create(host, "template", IMAGE, &OPTIONS)?;
    start(host, &template, AGENT_ANSWERED, || Ok(()))?;
    template.note_backend()?;
    let command_line = arguments(vmm(&log(&template)?)?)?;
    host.text(&["vm", "kill", &template.name])?;
    let comparison = Comparison::measure(
        "QEMU",
        rounds,
        |_| by_banger(host),
        |_| {
            let machine = Machine::create(host, "by-hand", IMAGE, &OPTIONS)?;
            let disks = [&template, &machine].map(|it| it.directory().join(WRITABLE));
            by_hand(&command_line, (&disks[0], &disks[1]), agents_answer)
        },
    )?;
    Ok(Section {
        title: "Start of a Linux guest on QEMU".to_owned(),
        notes: vec![
            "bare: QEMU with the command line, kernel, initrd and disks of banger, until the agent acknowledges HTTP/2 settings".to_owned(),
            "banger: the whole program, until it ends with the agent answering and the record written".to_owned(),
        ],
        rows: comparison.rows("the agent answered", None, TARGET)?,
    })
}

fn by_banger(host: &Host) -> Result<Start> {
    let machine = Machine::create(host, "by-banger", IMAGE, &OPTIONS)?;
    start(host, &machine, AGENT_ANSWERED, || Ok(()))
}

/// Milliseconds from the start of QEMU with another disk to its guest's end point.
fn by_hand(
    command_line: &[String],
    disks: (&Path, &Path),
    until: impl FnOnce(&mut Vmm, ChildStdout, UnixStream) -> io::Result<()>,
) -> Result<f64> {
    let failed = |error: io::Error| format!("QEMU by hand: {error}");
    let (channel, channel_end) = pair().map_err(failed)?;
    let (_control, control_end) = pair().map_err(failed)?;
    let descriptors = (channel_end.as_raw_fd(), control_end.as_raw_fd());
    let arguments = adapted(command_line, disks, descriptors)?;
    let started = Instant::now();
    let (mut qemu, console) = Vmm::spawn(&arguments, Path::new("/"))?;
    // QEMU has them now: when it ends the channel does
    drop((channel_end, control_end));
    until(&mut qemu, console, channel).map_err(failed)?;
    Ok(milliseconds(started))
}

fn agents_answer(qemu: &mut Vmm, console: ChildStdout, mut channel: UnixStream) -> io::Result<()> {
    qemu.drain(console);
    channel.write_all(PREFACE)?;
    channel.set_read_timeout(Some(DEADLINE))?;
    wait_for_acknowledgement(&mut channel)
}

fn first_word(_: &mut Vmm, mut console: ChildStdout, _: UnixStream) -> io::Result<()> {
    console.read_exact(&mut [0])
}

/// A socket pair, whose second end a child inherits under its number.
fn pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, childs) = UnixStream::pair()?;
    fcntl_setfd(childs.as_fd(), FdFlags::empty())?;
    Ok((ours, childs.into()))
}

/// A command line with another disk and other descriptors.
fn adapted(
    command_line: &[String],
    (from, to): (&Path, &Path),
    (channel, control): (i32, i32),
) -> Result<Vec<String>> {
    let mut replaced = 0;
    let mut adapt = |word: &String| {
        let (disk, descriptors) = (
            format!("filename={},", from.display()),
            [
                ("socket,id=channel,fd=", channel),
                ("socket,id=control,fd=", control),
            ],
        );
        if word.contains(&disk) {
            replaced += 1;
            return word.replace(&disk, &format!("filename={},", to.display()));
        }
        for (prefix, descriptor) in descriptors {
            if word.starts_with(prefix) {
                replaced += 1;
                return format!("{prefix}{descriptor}");
            }
        }
        word.clone()
    };
    let adapted = command_line.iter().map(&mut adapt).collect();
    if replaced == 3 {
        Ok(adapted)
    } else {
        Err(format!("QEMU was given something else: {command_line:?}"))
    }
}

/// Reads HTTP/2 frames until one acknowledges our settings.
fn wait_for_acknowledgement(stream: &mut impl Read) -> io::Result<()> {
    const SETTINGS: u8 = 4;
    const ACKNOWLEDGED: u8 = 1;
    loop {
        // RFC 9113, 4.1: length, type, flags, stream
        let mut header = [0; 9];
        stream.read_exact(&mut header)?;
        let [a, b, c, kind, flags, ..] = header;
        let length = u32::from_be_bytes([0, a, b, c]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if FRAME_LIMIT < length {
            let problem = format!("a frame of {length} bytes is no frame of an agent");
            return Err(io::Error::other(problem));
        }
        stream.read_exact(&mut vec![0; length])?;
        if kind == SETTINGS && flags & ACKNOWLEDGED != 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn a_command_line_gets_another_disk_and_other_descriptors() {
        let command_line = [
            "qemu",
            "driver=file,node-name=disk1,filename=/s/vms/1/writable.ext4,discard=unmap",
            "socket,id=channel,fd=9",
            "socket,id=control,fd=10",
        ]
        .map(str::to_owned);
        let disks = ["/s/vms/1/writable.ext4", "/s/vms/2/writable.ext4"].map(Path::new);
        let disks = (disks[0], disks[1]);
        let adapted_line = adapted(&command_line, disks, (4, 6)).unwrap();
        let expected = [
            "qemu",
            "driver=file,node-name=disk1,filename=/s/vms/2/writable.ext4,discard=unmap",
            "socket,id=channel,fd=4",
            "socket,id=control,fd=6",
        ];
        assert_eq!(adapted_line, expected);
        assert!(adapted(&command_line[..3], disks, (4, 6)).is_err());
    }

    #[test]
    fn the_acknowledgement_is_found_among_frames() {
        let settings = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x40".as_slice();
        let update = b"\0\0\x04\x08\0\0\0\0\0\0\0\0\x01";
        let acknowledged = b"\0\0\0\x04\x01\0\0\0\0";
        let all = [settings, update, acknowledged].concat();
        wait_for_acknowledgement(&mut all.as_slice()).unwrap();
        let mut cut = &all[..all.len() - 1];
        assert!(wait_for_acknowledgement(&mut cut).is_err());
        let mut long = b"\xff\0\0\x04\x01\0\0\0\0".as_slice();
        assert!(wait_for_acknowledgement(&mut long).is_err());
    }
}

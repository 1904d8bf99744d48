//! What a guest's console tells about its boot. Pure.
//!
//! Invariants: the guest is not trusted: lines and tail are bounded, and
//! control characters never leave. Entry points: [`ConsoleWatch`].

use std::collections::VecDeque;

use rustix::io::Errno;

use crate::vm::BootFailure;

/// Bytes of console kept for an error.
const TAIL_LIMIT: usize = 8 * 1024;
/// Bytes of a line that are looked at.
const LINE_LIMIT: usize = 1024;
/// How the guest's init begins its lines.
const INIT_PREFIX: &str = "banger-guest: ";
/// How a kernel says that its memory ran out (Linux `mm/oom_kill.c`,
/// `mm/page_alloc.c`, `mm/memblock.c`, `init/initramfs.c`).
const STARVED: [&str; 6] = [
    "Out of memory",
    "out of memory",
    "deadlocked on memory",
    "page allocation failure",
    "Failed to allocate",
    "Initramfs unpacking failed: write error",
];

/// A line by which a guest says that it cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// What sort of failure it is.
    pub(super) failure: BootFailure,
    /// How far it came.
    pub(super) stage: String,
    /// What happened.
    pub(super) cause: String,
}

/// Reads a console as it comes.
#[derive(Debug, Default)]
pub(super) struct ConsoleWatch {
    tail: VecDeque<u8>,
    line: Vec<u8>,
    progress: Progress,
    /// Whether the kernel told that its memory ran out.
    starved: bool,
    fault: Option<Fault>,
}

/// How far a boot came, by its console.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Progress {
    #[default]
    Silent,
    Kernel,
    Init,
}

impl ConsoleWatch {
    /// Takes the next bytes; answers whether they held the first fault.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> bool {
        let had_fault = self.fault.is_some();
        self.keep(bytes);
        for byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                _ if self.line.len() < LINE_LIMIT => self.line.push(*byte),
                _ => {}
            }
        }
        !had_fault && self.fault.is_some()
    }

    /// The first fault the console told of.
    pub(super) const fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// The stage a boot is in that says nothing about its stage.
    pub(super) const fn stage(&self) -> &'static str {
        match self.progress {
            Progress::Silent => "machine",
            Progress::Kernel => "kernel",
            Progress::Init => "agent",
        }
    }

    /// The end of the console, without control characters.
    pub(super) fn tail(&self) -> String {
        let bytes: Vec<u8> = self.tail.iter().copied().collect();
        printable(&String::from_utf8_lossy(&bytes))
    }

    fn keep(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(TAIL_LIMIT)..];
        let excess = (self.tail.len() + bytes.len()).saturating_sub(TAIL_LIMIT);
        self.tail.drain(..excess);
        self.tail.extend(bytes);
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = printable(&String::from_utf8_lossy(&line));
        let line = line.trim();
        if line.starts_with(INIT_PREFIX) {
            self.progress = Progress::Init;
        } else if self.progress == Progress::Silent && !line.is_empty() {
            self.progress = Progress::Kernel;
        }
        self.starved |= STARVED.iter().any(|words| line.contains(words));
        if self.fault.is_none() {
            self.fault = init_fault(line).or_else(|| kernel_fault(line, self.starved));
        }
    }
}

/// `banger-guest: stage X failed: cause`.
fn init_fault(line: &str) -> Option<Fault> {
    let rest = line.strip_prefix(INIT_PREFIX)?.strip_prefix("stage ")?;
    let (stage, cause) = rest.split_once(" failed")?;
    let cause = cause.trim_start_matches(':').trim();
    Some(Fault {
        failure: init_failure(stage, cause),
        stage: stage.to_owned(),
        cause: if cause.is_empty() {
            "no cause was given"
        } else {
            cause
        }
        .to_owned(),
    })
}

/// What sort of failure a stage of the init tells.
fn init_failure(stage: &str, cause: &str) -> BootFailure {
    let has = |errno: Errno| {
        let number = errno.raw_os_error();
        cause.trim_end().ends_with(&format!("(os error {number})"))
    };
    if has(Errno::NOSPC) {
        return BootFailure::DiskFull;
    }
    if has(Errno::NOMEM) {
        return BootFailure::OutOfMemory;
    }
    match stage {
        "disks" | "root" | "switch-root" => BootFailure::RootDisk,
        "volumes" => BootFailure::Volume,
        "init" => BootFailure::NoInit,
        _ => BootFailure::Other,
    }
}

/// `[    1.234567] Kernel panic - not syncing: cause` (Linux `kernel/panic.c`).
fn kernel_fault(line: &str, starved: bool) -> Option<Fault> {
    let message = line.strip_prefix('[').map_or(line, |rest| {
        rest.split_once("] ").map_or(line, |(_, message)| message)
    });
    let starved = starved || STARVED.iter().any(|words| message.contains(words));
    message.starts_with("Kernel panic").then(|| Fault {
        failure: if starved {
            BootFailure::OutOfMemory
        } else {
            BootFailure::KernelPanic
        },
        stage: "kernel".to_owned(),
        cause: message.to_owned(),
    })
}

fn printable(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control() || matches!(character, '\n' | '\t'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(console: &str) -> ConsoleWatch {
        let mut watch = ConsoleWatch::default();
        // byte by byte: nothing may depend on how the console was cut
        for byte in console.bytes() {
            watch.feed(&[byte]);
        }
        watch
    }

    #[test]
    fn stages_and_faults_are_read_from_lines() {
        let cases = [
            ("", "machine", None),
            ("\r\n", "machine", None),
            ("Linux version 6.1\r\n", "kernel", None),
            ("boot\nbanger-guest: mounted\n", "agent", None),
            (
                "banger-guest: stage mount failed: no disk\r\nbanger-guest: stage x failed\n",
                "agent",
                Some(("mount", "no disk")),
            ),
            (
                "[    1.234567] Kernel panic - not syncing: VFS\r\n",
                "kernel",
                Some(("kernel", "Kernel panic - not syncing: VFS")),
            ),
            ("echo Kernel panic\n", "kernel", None),
            ("Kernel panic without an end", "machine", None),
        ];
        for (console, stage, fault) in cases {
            let watch = watch(console);
            assert_eq!(watch.stage(), stage, "{console:?}");
            let found = watch.fault();
            let found = found.map(|fault| (fault.stage.as_str(), fault.cause.as_str()));
            assert_eq!(found, fault, "{console:?}");
        }
    }

    #[test]
    fn faults_have_kinds() {
        let panic = "[    0.5] Kernel panic - not syncing";
        let cases = [
            (format!("{panic}: VFS: Unable to mount root fs\n"), BootFailure::KernelPanic),
            (
                format!("{panic}: System is deadlocked on memory\n"),
                BootFailure::OutOfMemory,
            ),
            (
                format!("[    0.4] Initramfs unpacking failed: write error\n{panic}: No working init found.\n"),
                BootFailure::OutOfMemory,
            ),
            (
                "banger-guest: stage root failed: cannot mount /dev/vda: Invalid argument (os error 22)\n".to_owned(),
                BootFailure::RootDisk,
            ),
            (
                "banger-guest: stage system failed: cannot make /run: No space left on device (os error 28)\n".to_owned(),
                BootFailure::DiskFull,
            ),
            (
                "banger-guest: stage modules failed: cannot load x: Cannot allocate memory (os error 12)\n".to_owned(),
                BootFailure::OutOfMemory,
            ),
            (
                "banger-guest: stage init failed: the image has no init: there is neither /sbin/init\n".to_owned(),
                BootFailure::NoInit,
            ),
            ("banger-guest: stage volumes failed: x\n".to_owned(), BootFailure::Volume),
            ("banger-guest: stage names failed: x\n".to_owned(), BootFailure::Other),
        ];
        for (console, failure) in cases {
            assert_eq!(
                watch(&console).fault().unwrap().failure,
                failure,
                "{console}"
            );
        }
    }

    #[test]
    fn the_tail_is_bounded_and_printable() {
        let mut watch = ConsoleWatch::default();
        watch.feed(&vec![b'x'; 3 * TAIL_LIMIT]);
        watch.feed(b"\x1b[2Jend\r\n");
        let tail = watch.tail();
        assert!(tail.len() <= TAIL_LIMIT && tail.ends_with("xx[2Jend\n"));
        assert!(watch.line.len() <= LINE_LIMIT);
    }

    #[test]
    fn only_the_first_fault_is_news() {
        let mut watch = ConsoleWatch::default();
        assert!(!watch.feed(b"banger-guest: stage a fai"));
        assert!(watch.feed(b"led\n"));
        assert!(!watch.feed(b"banger-guest: stage b failed\n"));
    }
}

//! The signal by which an image's command is asked to stop (OCI image-spec,
//! `config.md`, "StopSignal"). Pure.

/// What a command gets whose image names no signal, or none that Linux has.
pub(super) const DEFAULT: u32 = 15;
/// Highest signal number of Linux, and the first real-time signal that the C
/// library leaves to programs (signal(7)).
const HIGHEST: u32 = 64;
const FIRST_REAL_TIME: u32 = 34;

/// Signals of Linux by number, from 1 (signal(7), x86 and Arm).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The number of a signal written as `SIGTERM`, `TERM`, `SIGRTMIN+3` or `15`.
pub(super) fn number(text: &str) -> u32 {
    parse(text).unwrap_or(DEFAULT)
}

fn parse(text: &str) -> Option<u32> {
    if let Ok(number) = text.parse() {
        return (1..=HIGHEST).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(more) = name.strip_prefix("RTMIN") {
        return real_time(more, '+').map(|more| FIRST_REAL_TIME + more);
    }
    if let Some(less) = name.strip_prefix("RTMAX") {
        return real_time(less, '-').map(|less| HIGHEST - less);
    }
    let place = NAMES.iter().position(|known| *known == name)?;
    u32::try_from(place + 1).ok()
}

/// The distance from an end of the real-time signals.
fn real_time(text: &str, sign: char) -> Option<u32> {
    if text.is_empty() {
        return Some(0);
    }
    let distance: u32 = text.strip_prefix(sign)?.parse().ok()?;
    (distance <= HIGHEST - FIRST_REAL_TIME).then_some(distance)
}

/// The name of a signal, as people know it.
pub(super) fn name(number: u32) -> String {
    let place = usize::try_from(number)
        .ok()
        .and_then(|number| number.checked_sub(1));
    match place.and_then(|place| NAMES.get(place)) {
        Some(name) => format!("SIG{name}"),
        None => format!("signal {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_in_every_form() {
        let cases = [
            ("SIGTERM", 15),
            ("sigquit", 3),
            ("KILL", 9),
            ("28", 28),
            ("SIGRTMIN+3", 37),
            ("RTMIN", 34),
            ("SIGRTMAX-1", 63),
            ("", DEFAULT),
            ("0", DEFAULT),
            ("65", DEFAULT),
            ("SIGRTMIN+99", DEFAULT),
            ("SIGNAL", DEFAULT),
        ];
        for (text, expected) in cases {
            assert_eq!(number(text), expected, "{text}");
        }
        assert_eq!(name(15), "SIGTERM");
        assert_eq!(name(37), "signal 37");
    }
}

//! The user's terminal.
//!
//! Purpose: raw mode and size. Invariants: [`RawMode`] puts the terminal back
//! when it is dropped; signals are values here ([`crate::signals`]) and panics
//! unwind, so it is dropped however the command ends.
//! Entry points: [`RawMode`], [`size`], [`is_terminal`].

use std::os::fd::{AsFd, OwnedFd};

use banger_core::vm::TerminalSize;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

use crate::error::CliError;

/// What a terminal that does not know its size is taken for.
const DEFAULT_SIZE: TerminalSize = TerminalSize {
    rows: 24,
    columns: 80,
};

/// Whether this is a terminal.
pub fn is_terminal(stream: impl AsFd) -> bool {
    isatty(stream)
}

/// The terminal's size now.
pub fn size(terminal: impl AsFd) -> TerminalSize {
    match tcgetwinsize(terminal) {
        Ok(size) if size.ws_row != 0 && size.ws_col != 0 => TerminalSize {
            rows: size.ws_row,
            columns: size.ws_col,
        },
        _ => DEFAULT_SIZE,
    }
}

/// While this lives, the terminal hands every key on as it is.
#[derive(Debug)]
pub struct RawMode {
    terminal: OwnedFd,
    before: Termios,
}

impl RawMode {
    /// Makes the terminal raw.
    pub fn enter(terminal: impl AsFd) -> Result<Self, CliError> {
        let terminal = terminal.as_fd().try_clone_to_owned();
        let terminal = terminal.map_err(|source| failed("open", source))?;
        let before = tcgetattr(&terminal).map_err(|error| failed("read the mode of", error))?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&terminal, OptionalActions::Now, &raw)
            .map_err(|error| failed("set the mode of", error))?;
        Ok(Self { terminal, before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // a terminal that went away needs no mode
        let _gone = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

fn failed(action: &'static str, source: impl Into<std::io::Error>) -> CliError {
    CliError::Terminal {
        action,
        source: source.into(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use rustix::{
        fs::{Mode, OFlags, open},
        pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
        termios::{LocalModes, Winsize, tcsetwinsize},
    };

    use super::*;

    /// Both ends of a new terminal, the user's keyboard and screen first.
    pub(crate) fn pair() -> (OwnedFd, OwnedFd) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        (master, slave)
    }

    pub(crate) fn is_raw(terminal: &OwnedFd) -> bool {
        !tcgetattr(terminal)
            .unwrap()
            .local_modes
            .contains(LocalModes::ICANON)
    }

    #[test]
    fn raw_mode_ends_with_its_guard_and_with_a_panic() {
        let (_master, slave) = pair();
        assert!(!is_raw(&slave));
        let raw = RawMode::enter(&slave).unwrap();
        assert!(is_raw(&slave));
        drop(raw);
        assert!(!is_raw(&slave));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _raw = RawMode::enter(&slave).unwrap();
            assert!(!is_raw(&slave), "raw on purpose");
        }));
        assert!(panicked.is_err());
        assert!(!is_raw(&slave));
    }

    #[test]
    fn the_size_is_the_terminals_or_a_usual_one() {
        let (_master, slave) = pair();
        assert_eq!(size(&slave), DEFAULT_SIZE);
        let wide = Winsize {
            ws_row: 50,
            ws_col: 200,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&slave, wide).unwrap();
        assert_eq!(
            size(&slave),
            TerminalSize {
                rows: 50,
                columns: 200
            }
        );
        assert!(is_terminal(&slave));
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(!is_terminal(&file));
        assert!(matches!(
            RawMode::enter(&file),
            Err(CliError::Terminal { .. })
        ));
    }
}

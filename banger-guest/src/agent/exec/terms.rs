//! On which terms a session is kept, checked. Pure.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use banger_proto::guest::v1::{CreateExecRequest, OnFull, WhenDetached};
use bytes::Bytes;
use prost::Message as _;

use super::failure::SpawnError;
use crate::sys::signals;

/// Longest id.
const ID_LIMIT: usize = 63;
/// Bytes of a command line that a listing shows.
const WORDS_LIMIT: usize = 4096;

/// A session's name and terms.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) id: String,
    /// The command line, for listings.
    pub(super) words: Vec<Bytes>,
    pub(super) timeout: Option<Duration>,
    pub(super) on_full: OnFull,
    pub(super) when_detached: WhenDetached,
    detach_grace: Duration,
    pub(super) without_stdin: bool,
    /// Tells this request from another of the same id.
    pub(super) fingerprint: u64,
}

impl Terms {
    pub(super) fn parse(request: &CreateExecRequest) -> Result<Self, SpawnError> {
        let id = request.exec_id.clone();
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=ID_LIMIT).contains(&id.len()) || !id.bytes().all(allowed) {
            return Err(SpawnError::invalid(
                "the id is not 1 to 63 of a-z, 0-9 and -",
            ));
        }
        let on_full = match request.on_full() {
            OnFull::Unspecified => OnFull::Wait,
            known => known,
        };
        let when_detached = match request.when_detached() {
            WhenDetached::Unspecified => WhenDetached::Kill,
            known => known,
        };
        let timeout = Duration::from_millis(request.timeout_millis);
        Ok(Self {
            id,
            words: request
                .start
                .as_ref()
                .map_or_else(Vec::new, |start| words(&start.argv)),
            timeout: (!timeout.is_zero()).then_some(timeout),
            on_full,
            when_detached,
            detach_grace: Duration::from_millis(request.detach_grace_millis),
            without_stdin: request.without_stdin,
            fingerprint: fingerprint(request),
        })
    }

    /// How long nobody may be attached; none means for ever.
    pub(super) fn grace(&self) -> Option<Duration> {
        (self.when_detached == WhenDetached::Kill).then_some(self.detach_grace)
    }
}

/// A signal's number.
pub(super) fn signal(number: u32) -> Result<i32, SpawnError> {
    i32::try_from(number)
        .ok()
        .filter(|number| (1..=signals::HIGHEST).contains(number))
        .ok_or_else(|| SpawnError::invalid(format!("{number} is no signal")))
}

fn fingerprint(request: &CreateExecRequest) -> u64 {
    let mut hasher = DefaultHasher::new();
    request.encode_to_vec().hash(&mut hasher);
    hasher.finish()
}

/// Copies: a word may share its memory with a whole message.
fn words(argv: &[Bytes]) -> Vec<Bytes> {
    let mut left = WORDS_LIMIT;
    let mut words = Vec::new();
    for word in argv {
        if left == 0 {
            break;
        }
        let shown = word.get(..left).unwrap_or(word);
        // an empty word takes a place, too
        left -= shown.len().max(1);
        words.push(Bytes::copy_from_slice(shown));
    }
    words
}

#[cfg(test)]
mod tests {
    use banger_proto::guest::v1::ExecStart;

    use super::*;

    fn request(id: &str) -> CreateExecRequest {
        CreateExecRequest {
            exec_id: id.to_owned(),
            ..CreateExecRequest::default()
        }
    }

    #[test]
    fn what_is_not_said_is_careful() {
        let terms = Terms::parse(&request("a-1")).unwrap();
        assert_eq!(terms.on_full, OnFull::Wait);
        assert_eq!(terms.grace(), Some(Duration::ZERO));
        assert_eq!(terms.timeout, None);
        let mut kept = request("a-1");
        kept.set_when_detached(WhenDetached::Keep);
        let kept = Terms::parse(&kept).unwrap();
        assert_eq!(kept.grace(), None);
        assert_ne!(kept.fingerprint, terms.fingerprint);
    }

    #[test]
    fn ids_are_short_and_plain() {
        let long = "x".repeat(ID_LIMIT + 1);
        for id in ["", "A", "a_b", "ü", "a/b", &long] {
            Terms::parse(&request(id)).unwrap_err();
        }
        Terms::parse(&request(&long[1..])).unwrap();
    }

    #[test]
    fn a_command_line_is_shown_in_part() {
        let mut long = request("a");
        let argv = ["a", "", &"b".repeat(WORDS_LIMIT), "c"].map(|word| word.to_owned().into());
        long.start = Some(ExecStart {
            argv: argv.to_vec(),
            ..ExecStart::default()
        });
        let words = Terms::parse(&long).unwrap().words;
        assert_eq!(words.len(), 3);
        assert_eq!(words[2].len(), WORDS_LIMIT - 2);
    }

    #[test]
    fn signals_are_those_of_linux() {
        assert_eq!(signal(9).unwrap(), 9);
        for number in [0, 65, u32::MAX] {
            signal(number).unwrap_err();
        }
    }
}

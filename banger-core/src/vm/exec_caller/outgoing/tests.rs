//! Clients whose connections break, against a guest that counts.

use super::*;

const LIMITS: Limits = Limits {
    input: 256 << 10,
    piece: 64 << 10,
    acknowledged: 128 << 10,
};

const fn taken(stdin_offset: u64, granted: u64, signals: u64) -> Taken {
    Taken {
        accepted: Accepted {
            stdin_offset,
            signals,
        },
        stdin_limit: stdin_offset + granted,
    }
}

fn outgoing(taken: Taken, offset: u64) -> Outgoing {
    Outgoing::new(LIMITS, taken, false, offset)
}

fn all(outgoing: &mut Outgoing) -> Vec<Said> {
    let mut requests = Vec::new();
    while outgoing.has_next() {
        requests.push(outgoing.next_said().unwrap());
    }
    assert_eq!(outgoing.next_said(), None);
    requests
}

fn input(offset: u64, bytes: &'static str) -> Said {
    let bytes = Bytes::from(bytes);
    Said::Stdin { offset, bytes }
}

const fn signal(number: u32, ordinal: u64) -> Said {
    Said::Signal { number, ordinal }
}

const END: Said = Said::CloseStdin;

#[test]
fn what_the_guest_did_not_take_is_said_again() {
    let mut outgoing = outgoing(taken(10, 100, 2), 0);
    for text in ["abc", "", "def"] {
        outgoing.take(ExecControl::Stdin(text.into()));
    }
    outgoing.take(ExecControl::Signal(15));
    outgoing.take(ExecControl::CloseStdin);
    outgoing.take(ExecControl::Stdin("late".into()));
    let size = TerminalSize {
        rows: 1,
        columns: 2,
    };
    outgoing.take(ExecControl::Resize(size));
    let resize = Said::Resize(size);
    let said = all(&mut outgoing);
    let first = [
        signal(15, 2),
        resize.clone(),
        input(10, "abc"),
        input(13, "def"),
        END,
    ];
    assert_eq!(said, first);
    outgoing.accept(taken(11, 100, 2));
    assert_eq!(all(&mut outgoing), []);
    // the guest took a byte and the signal
    outgoing.resume(taken(14, 100, 3), false, 0);
    assert_eq!(all(&mut outgoing), [resize.clone(), input(14, "ef"), END]);
    outgoing.resume(taken(16, 100, 3), true, 0);
    assert_eq!(all(&mut outgoing), [resize]);
}

#[test]
fn input_waits_for_the_guest_and_signals_do_not() {
    let mut outgoing = outgoing(taken(0, 4, 0), 0);
    outgoing.take(ExecControl::Stdin("abcdef".into()));
    outgoing.take(ExecControl::CloseStdin);
    assert_eq!(all(&mut outgoing), [input(0, "abcd")]);
    outgoing.take(ExecControl::Signal(2));
    assert_eq!(all(&mut outgoing), [signal(2, 0)]);
    outgoing.accept(taken(4, 1, 1));
    assert_eq!(all(&mut outgoing), [input(4, "e")]);
    outgoing.accept(taken(5, 9, 1));
    assert_eq!(all(&mut outgoing), [input(5, "f"), END]);
}

#[test]
fn what_is_kept_is_bounded_and_cut_into_chunks() {
    let mut outgoing = outgoing(taken(0, 1 << 30, 0), 0);
    let length = 3 * LIMITS.piece + 1;
    outgoing.take(ExecControl::Stdin(vec![0; length].into()));
    assert!(!outgoing.is_full());
    outgoing.take(ExecControl::Stdin(vec![0; length].into()));
    assert!(outgoing.is_full());
    assert_eq!(all(&mut outgoing).len(), 8);
    outgoing.accept(taken(length as u64, 1 << 30, 0));
    assert!(!outgoing.is_full());
    for number in 0..16 {
        assert!(!outgoing.is_full());
        outgoing.take(ExecControl::Signal(number));
    }
    assert!(outgoing.is_full());
}

#[test]
fn output_is_acknowledged_now_and_then() {
    let mut outgoing = outgoing(taken(0, 0, 0), 1000);
    outgoing.acknowledge(1000 + LIMITS.acknowledged - 1);
    assert_eq!(all(&mut outgoing), []);
    outgoing.acknowledge(1000 + LIMITS.acknowledged);
    let acknowledged = Said::Acknowledged(1000 + LIMITS.acknowledged);
    assert_eq!(all(&mut outgoing), [acknowledged]);
    // input of another client
    outgoing.accept(taken(7, 3, 1));
    outgoing.take(ExecControl::Stdin("x".into()));
    outgoing.take(ExecControl::Signal(1));
    assert_eq!(all(&mut outgoing), [signal(1, 1), input(7, "x")]);
}

#[test]
fn all_output_is_acknowledged_where_nothing_is_saved_by_waiting() {
    let limits = Limits {
        acknowledged: 1,
        ..LIMITS
    };
    let mut outgoing = Outgoing::new(limits, taken(0, 0, 0), false, 5);
    outgoing.acknowledge(9);
    assert_eq!(all(&mut outgoing), [Said::Acknowledged(9)]);
    // the output up to 12 came, and nobody was done with it yet
    outgoing.take(ExecControl::CloseStdin);
    assert_eq!(all(&mut outgoing), [END]);
    outgoing.resume(taken(0, 0, 0), false, 12);
    assert_eq!(all(&mut outgoing), [END]);
    outgoing.acknowledge(12);
    assert_eq!(all(&mut outgoing), []);
    outgoing.acknowledge(13);
    assert_eq!(all(&mut outgoing), [Said::Acknowledged(13)]);
}

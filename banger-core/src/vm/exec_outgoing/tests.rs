//! Clients whose connections break, against a guest that counts.

use super::*;

fn attached(stdin_offset: u64, granted: u64, signals: u64) -> ExecAttached {
    ExecAttached {
        accepted: Some(accepted(stdin_offset, granted, signals)),
        ..ExecAttached::default()
    }
}

const fn accepted(stdin_offset: u64, granted: u64, signals: u64) -> ExecAccepted {
    ExecAccepted {
        stdin_offset,
        stdin_limit: stdin_offset + granted,
        signals,
    }
}

fn all(outgoing: &mut Outgoing) -> Vec<Request> {
    let mut requests = Vec::new();
    while outgoing.has_next() {
        requests.push(outgoing.next().unwrap());
    }
    assert_eq!(outgoing.next(), None);
    requests
}

fn input(offset: u64, bytes: &'static str) -> Request {
    let bytes = Bytes::from(bytes);
    Request::Input(ExecInput { offset, bytes })
}

const fn signal(number: u32, ordinal: u64) -> Request {
    Request::Signal(ExecSignal { number, ordinal })
}

const END: Request = Request::CloseStdin(CloseStdin {});

#[test]
fn what_the_guest_did_not_take_is_said_again() {
    let mut outgoing = Outgoing::new(&attached(10, 100, 2), 0);
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
    let resize = Request::Resize(wire_size(size));
    let said = all(&mut outgoing);
    let first = [
        signal(15, 2),
        resize.clone(),
        input(10, "abc"),
        input(13, "def"),
        END,
    ];
    assert_eq!(said, first);
    outgoing.accept(accepted(11, 100, 2));
    assert_eq!(all(&mut outgoing), []);
    // the guest took a byte and the signal
    outgoing.resume(&attached(14, 100, 3), 0);
    assert_eq!(all(&mut outgoing), [resize.clone(), input(14, "ef"), END]);
    let closed = ExecAttached {
        stdin_closed: true,
        ..attached(16, 100, 3)
    };
    outgoing.resume(&closed, 0);
    assert_eq!(all(&mut outgoing), [resize]);
}

#[test]
fn input_waits_for_the_guest_and_signals_do_not() {
    let mut outgoing = Outgoing::new(&attached(0, 4, 0), 0);
    outgoing.take(ExecControl::Stdin("abcdef".into()));
    outgoing.take(ExecControl::CloseStdin);
    assert_eq!(all(&mut outgoing), [input(0, "abcd")]);
    outgoing.take(ExecControl::Signal(2));
    assert_eq!(all(&mut outgoing), [signal(2, 0)]);
    outgoing.accept(accepted(4, 1, 1));
    assert_eq!(all(&mut outgoing), [input(4, "e")]);
    outgoing.accept(accepted(5, 9, 1));
    assert_eq!(all(&mut outgoing), [input(5, "f"), END]);
}

#[test]
fn what_is_kept_is_bounded_and_cut_into_chunks() {
    let mut outgoing = Outgoing::new(&attached(0, 1 << 30, 0), 0);
    let length = 3 * MAX_EXEC_CHUNK + 1;
    outgoing.take(ExecControl::Stdin(vec![0; length].into()));
    assert!(!outgoing.is_full());
    outgoing.take(ExecControl::Stdin(vec![0; length].into()));
    assert!(outgoing.is_full());
    assert_eq!(all(&mut outgoing).len(), 8);
    outgoing.accept(accepted(length as u64, 1 << 30, 0));
    assert!(!outgoing.is_full());
    for number in 0..16 {
        assert!(!outgoing.is_full());
        outgoing.take(ExecControl::Signal(number));
    }
    assert!(outgoing.is_full());
}

#[test]
fn output_is_acknowledged_now_and_then() {
    let mut outgoing = Outgoing::new(&attached(0, 0, 0), 1000);
    outgoing.acknowledge(1000 + ACKNOWLEDGED - 1);
    assert_eq!(all(&mut outgoing), []);
    outgoing.acknowledge(1000 + ACKNOWLEDGED);
    let acknowledged = Request::Acknowledged(1000 + ACKNOWLEDGED);
    assert_eq!(all(&mut outgoing), [acknowledged]);
    // input of another client
    outgoing.accept(accepted(7, 3, 1));
    outgoing.take(ExecControl::Stdin("x".into()));
    outgoing.take(ExecControl::Signal(1));
    assert_eq!(all(&mut outgoing), [signal(1, 1), input(7, "x")]);
}

//! Sessions on pipes and terminals of the tests' own.

use std::{
    fs::File,
    io::Write as _,
    os::fd::{AsFd as _, OwnedFd},
};

use banger_core::vm::{ExecError, TerminalSize};
use bytes::Bytes;
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::{AsyncReadExt as _, DuplexStream, duplex};

use super::*;
use crate::terminal::tests::{is_raw, pair};

struct Guest {
    control: mpsc::Receiver<ExecControl>,
    events: mpsc::Sender<Result<ExecEvent, ExecError>>,
}

struct User {
    asks: mpsc::Sender<HostSignal>,
    window: mpsc::Sender<()>,
    stdout: DuplexStream,
    stderr: DuplexStream,
}

fn session() -> (ExecSession, Guest) {
    let (control, controlled) = mpsc::channel(1);
    let (sender, events) = mpsc::channel(8);
    let session = ExecSession::of_channels(1, control, events);
    (
        session,
        Guest {
            control: controlled,
            events: sender,
        },
    )
}

fn console(stdin: OwnedFd) -> (Console, Signals, User) {
    let (own_stdout, stdout) = duplex(1 << 20);
    let (own_stderr, stderr) = duplex(1 << 20);
    let (asks, asked) = mpsc::channel(4);
    let (window, changed) = mpsc::channel(4);
    let console = Console::new(stdin, own_stdout, own_stderr);
    let signals = Signals::from_channels(asked, changed);
    (
        console,
        signals,
        User {
            asks,
            window,
            stdout,
            stderr,
        },
    )
}

fn null() -> OwnedFd {
    File::open("/dev/null").unwrap().into()
}

async fn all(mut stream: DuplexStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    bytes
}

const fn exit(code: u8) -> ExecEvent {
    ExecEvent::Exit(ExecExit::Code(code))
}

#[tokio::test]
async fn output_is_exact_and_unasked_input_is_closed_at_once() {
    let (session, mut guest) = session();
    let (read, _write_that_never_ends) = std::io::pipe().unwrap();
    let (console, mut signals, user) = console(read.into());
    let bytes = Bytes::from_static(b"\x00\xff\r\nend");
    let play = async {
        assert_eq!(guest.control.recv().await, Some(ExecControl::CloseStdin));
        guest
            .events
            .send(Ok(ExecEvent::Stdout(bytes.clone())))
            .await
            .unwrap();
        guest
            .events
            .send(Ok(ExecEvent::Stderr(Bytes::from_static(b"err"))))
            .await
            .unwrap();
        guest.events.send(Ok(exit(3))).await.unwrap();
    };
    let attached = attach(session, &console, &mut signals, Attachment::default());
    let (ended, ()) = tokio::join!(attached, play);
    assert_eq!(ended.unwrap(), Ended::Exit(ExecExit::Code(3)));
    drop(console);
    assert_eq!(all(user.stdout).await, bytes);
    assert_eq!(all(user.stderr).await, b"err");
}

#[tokio::test]
async fn input_is_passed_to_its_end_and_waits_for_the_guest() {
    let (session, mut guest) = session();
    let (read, mut write) = std::io::pipe().unwrap();
    let (console, mut signals, _user) = console(read.into());
    let sent: Vec<u8> = (0..1_000_000_u32)
        .map(|number| number.to_le_bytes()[0])
        .collect();
    let expected = sent.clone();
    let writer = std::thread::spawn(move || write.write_all(&sent).unwrap());
    let play = async {
        let mut taken = Vec::new();
        while let Some(ExecControl::Stdin(bytes)) = guest.control.recv().await {
            taken.extend_from_slice(&bytes);
        }
        guest.events.send(Ok(exit(0))).await.unwrap();
        taken
    };
    let attachment = Attachment {
        interactive: true,
        terminal: false,
    };
    let (ended, taken) = tokio::join!(attach(session, &console, &mut signals, attachment), play);
    writer.join().unwrap();
    assert_eq!(ended.unwrap(), Ended::Exit(ExecExit::Code(0)));
    assert!(
        taken == expected,
        "{} bytes of {}",
        taken.len(),
        expected.len()
    );
}

#[tokio::test]
async fn input_after_the_end_is_left_for_others() {
    let (session, mut guest) = session();
    let (read, mut write) = std::io::pipe().unwrap();
    let mut after = File::from(read.as_fd().try_clone_to_owned().unwrap());
    let (console, mut signals, _user) = console(read.into());
    write.write_all(b"first").unwrap();
    let play = async {
        let first = ExecControl::Stdin(Bytes::from_static(b"first"));
        assert_eq!(guest.control.recv().await, Some(first));
        guest.events.send(Ok(exit(0))).await.unwrap();
    };
    let attachment = Attachment {
        interactive: true,
        terminal: false,
    };
    let (ended, ()) = tokio::join!(attach(session, &console, &mut signals, attachment), play);
    ended.unwrap();
    // the reader lets go of its sender when it has ended
    assert_eq!(guest.control.recv().await, None);
    write.write_all(b"next").unwrap();
    drop(write);
    let mut left = String::new();
    std::io::Read::read_to_string(&mut after, &mut left).unwrap();
    assert_eq!(left, "next");
}

#[tokio::test]
async fn the_first_signal_is_passed_on_and_the_second_gives_up() {
    let (session, mut guest) = session();
    let (console, mut signals, user) = console(null());
    let play = async {
        assert_eq!(guest.control.recv().await, Some(ExecControl::CloseStdin));
        user.asks.send(HostSignal::Interrupt).await.unwrap();
        assert_eq!(guest.control.recv().await, Some(ExecControl::Signal(2)));
        user.asks.send(HostSignal::Terminate).await.unwrap();
    };
    let attached = attach(session, &console, &mut signals, Attachment::default());
    let (ended, ()) = tokio::join!(attached, play);
    let ended = ended.unwrap();
    assert_eq!(ended, Ended::GivenUp(HostSignal::Terminate));
    assert_eq!(ended.status(), 143);
    assert!(guest.events.is_closed(), "the session was not dropped");
}

#[tokio::test]
async fn a_terminal_is_raw_meanwhile_and_its_size_is_passed_on() {
    let (session, mut guest) = session();
    let (_master, slave) = pair();
    let observed = slave.try_clone().unwrap();
    let (console, mut signals, user) = console(slave);
    let size = Winsize {
        ws_row: 30,
        ws_col: 90,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let play = async {
        tcsetwinsize(&observed, size).unwrap();
        user.window.send(()).await.unwrap();
        let resized = ExecControl::Resize(TerminalSize {
            rows: 30,
            columns: 90,
        });
        assert_eq!(guest.control.recv().await, Some(resized));
        assert!(is_raw(&observed));
        guest
            .events
            .send(Ok(ExecEvent::Exit(ExecExit::Signal(9))))
            .await
            .unwrap();
    };
    let attachment = Attachment {
        interactive: true,
        terminal: true,
    };
    let (ended, ()) = tokio::join!(attach(session, &console, &mut signals, attachment), play);
    assert_eq!(ended.unwrap().status(), 137);
    assert!(!is_raw(&observed));
}

#[tokio::test]
async fn output_that_is_gone_is_told_beside_the_output() {
    let (session, guest) = session();
    let (console, mut signals, user) = console(null());
    let (from, to) = (5, 12);
    for event in [ExecEvent::Truncated { from, to }, exit(0)] {
        guest.events.send(Ok(event)).await.unwrap();
    }
    let ended = attach(session, &console, &mut signals, Attachment::default()).await;
    assert_eq!(ended.unwrap().status(), 0);
    drop(console);
    let told = String::from_utf8(all(user.stderr).await).unwrap();
    assert_eq!(told, "banger: 7 bytes of output are not kept any more\n");
    assert!(all(user.stdout).await.is_empty());
}

#[tokio::test]
async fn a_reader_that_went_away_ends_the_session_quietly() {
    let (session, guest) = session();
    let (console, mut signals, user) = console(null());
    drop(user.stdout);
    guest
        .events
        .send(Ok(ExecEvent::Stdout(Bytes::from_static(b"x"))))
        .await
        .unwrap();
    let ended = attach(session, &console, &mut signals, Attachment::default()).await;
    assert_eq!(ended.unwrap().status(), 141);
}

#[tokio::test]
async fn a_session_that_fails_or_vanishes_is_an_error() {
    for failure in [Some(ExecError::NoCommand), None] {
        let expected = failure.is_some();
        let (session, guest) = session();
        let (console, mut signals, _user) = console(null());
        if let Some(error) = failure {
            guest.events.send(Err(error)).await.unwrap();
        }
        drop(guest.events);
        let ended = attach(session, &console, &mut signals, Attachment::default()).await;
        match ended.unwrap_err() {
            CliError::Exec(_) => assert!(expected),
            CliError::SessionLost => assert!(!expected),
            other => panic!("{other:?}"),
        }
    }
}

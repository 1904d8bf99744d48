//! What the command hears of a caller that lets go.

use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::vm::ExecError;

/// What is said of a caller within a moment.
async fn said(caller: &mut Caller<ExecError>) -> Option<Said> {
    let limits = Limits {
        input: 1,
        piece: 1,
        acknowledged: 1,
    };
    let mut outgoing = Outgoing::new(limits, Taken::default(), false, 0);
    let taken = watch::Sender::new(Taken::default());
    let (requests, mut heard) = mpsc::channel(1);
    let saying = say(
        &mut outgoing,
        caller,
        taken.subscribe(),
        &requests,
        |said| said,
    );
    let never = timeout(Duration::from_millis(50), saying).await;
    assert!(never.is_err());
    heard.try_recv().ok()
}

#[tokio::test]
async fn a_caller_that_only_listens_has_said_all() {
    let (mut caller, ends) = Caller::new(1, 0, Accepted::default());
    drop(ends.control);
    assert_eq!(said(&mut caller).await, Some(Said::CloseStdin));
    drop(ends.events);
}

/// The command's input goes on with whoever attaches next.
#[tokio::test]
async fn a_caller_that_lets_go_of_everything_ends_no_input() {
    let (mut caller, ends) = Caller::new(1, 0, Accepted::default());
    drop(ends);
    assert_eq!(said(&mut caller).await, None);
}

//! What the guest hears of a caller that lets go.

use tokio::time::timeout;

use super::*;

/// What is said of a caller within a moment.
async fn said(caller: &mut Caller) -> Option<Request> {
    let mut outgoing = Outgoing::new(&ExecAttached::default(), 0);
    let accepted = watch::Sender::new(ExecAccepted::default());
    let (requests, mut heard) = mpsc::channel(QUEUE);
    let saying = say(&mut outgoing, caller, accepted.subscribe(), &requests);
    let never = timeout(Duration::from_millis(50), saying).await;
    assert!(never.is_err());
    heard.try_recv().ok().and_then(|message| message.request)
}

fn caller() -> (
    Caller,
    mpsc::Sender<ExecControl>,
    mpsc::Receiver<Event>,
    watch::Sender<u64>,
) {
    let (control, controls) = mpsc::channel(QUEUE);
    let (sender, events) = mpsc::channel(QUEUE);
    let acknowledging = watch::Sender::new(0);
    let caller = Caller {
        controls,
        events: sender,
        acknowledged: acknowledging.subscribe(),
        open: true,
        accepted: watch::Sender::new(Accepted::default()),
        leaving: Leaving::default(),
    };
    (caller, control, events, acknowledging)
}

#[tokio::test]
async fn a_caller_that_only_listens_has_said_all() {
    let (mut caller, control, _events, _acknowledging) = caller();
    drop(control);
    assert!(matches!(
        said(&mut caller).await,
        Some(Request::CloseStdin(_))
    ));
}

/// The command's input goes on with whoever attaches next.
#[tokio::test]
async fn a_caller_that_lets_go_of_everything_ends_no_input() {
    let (mut caller, control, events, _acknowledging) = caller();
    drop(events);
    drop(control);
    assert_eq!(said(&mut caller).await, None);
}

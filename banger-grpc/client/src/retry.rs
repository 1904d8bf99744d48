//! Trying again, within a budget.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tonic::Status;

use crate::Failure;

/// The first pause between attempts; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The longest, unless the server says otherwise.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Calls until there is an answer that trying again would not change, or the time is
/// up.
pub(crate) async fn until<T, F>(
    deadline: Instant,
    mut call: impl FnMut() -> F,
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Status>>,
{
    let (mut pause, mut last) = (FIRST_PAUSE, None);
    loop {
        let failure = match timeout_at(deadline, call()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(status)) => Failure::from(status),
            Err(_) => return Err(Failure::out_of_time(last)),
        };
        if !failure.is_retryable() {
            return Err(failure);
        }
        let wanted = failure.retry_after.unwrap_or(pause);
        last = Some(failure);
        if deadline <= Instant::now() + wanted {
            return Err(Failure::out_of_time(last));
        }
        sleep(wanted).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

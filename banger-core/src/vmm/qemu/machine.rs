//! A machine that QEMU runs.

use std::{os::fd::AsFd as _, time::Duration};

use camino::Utf8Path;
use serde_json::json;
use tokio::time::sleep;

use super::{
    super::{
        BackendError,
        error::{broken, within},
    },
    control::Control,
    stream::{self, Feed},
};

/// How long QEMU may take for what it does at once.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
/// How long stopping and going on may take: disks are written back.
const STATE_DEADLINE: Duration = Duration::from_secs(30);
/// How long a machine's state may take to be written or read.
const SNAPSHOT_DEADLINE: Duration = Duration::from_mins(10);
/// How often is looked whether QEMU is done with a state.
const PERIOD: Duration = Duration::from_millis(5);
/// Bytes a second that a state may take: QEMU's default spares networks.
const BANDWIDTH: u64 = 1 << 40;
/// QEMU's name of the pipe to which the state goes.
const PIPE: &str = "snapshot";

/// A machine that QEMU runs.
#[derive(Debug)]
pub(in crate::vmm) struct Machine {
    control: Control,
    /// The state it is to go on from, until it does.
    feed: Option<Feed>,
}

impl Machine {
    pub(super) const fn new(control: Control, feed: Option<Feed>) -> Self {
        Self { control, feed }
    }

    /// QEMU boots by itself; a kept state must be fed to it.
    pub(in crate::vmm) async fn launch(&mut self) -> Result<(), BackendError> {
        let Some(feed) = self.feed.take() else {
            return Ok(());
        };
        let going_on = async {
            feed.run().await?;
            while self.status().await? == "inmigrate" {
                sleep(PERIOD).await;
            }
            // it was kept paused, and so it comes back
            self.resume().await
        };
        within(SNAPSHOT_DEADLINE, "-incoming", going_on).await
    }

    /// QEMU answers once the machine is made and runs.
    pub(in crate::vmm) async fn came_up(&mut self) -> Result<(), BackendError> {
        self.command("query-status", STATE_DEADLINE).await
    }

    /// An ACPI event for its guest.
    pub(in crate::vmm) async fn press_power_button(&mut self) -> Result<(), BackendError> {
        self.command("system_powerdown", ANSWER_DEADLINE).await
    }

    pub(in crate::vmm) async fn pause(&mut self) -> Result<(), BackendError> {
        self.command("stop", STATE_DEADLINE).await
    }

    pub(in crate::vmm) async fn resume(&mut self) -> Result<(), BackendError> {
        self.command("cont", STATE_DEADLINE).await
    }

    /// A migration into a file (QEMU manual, "Migration framework").
    pub(in crate::vmm) async fn snapshot(
        &mut self,
        directory: &Utf8Path,
    ) -> Result<(), BackendError> {
        let status = self.status().await?;
        if status == "running" {
            return Err(BackendError::Refused {
                request: "migrate".to_owned(),
                fault: "the machine is not paused".to_owned(),
            });
        }
        if status == "postmigrate" {
            self.leave_postmigrate().await?;
        }
        let kept = within(SNAPSHOT_DEADLINE, "migrate", self.migrate(directory)).await;
        if kept.is_err() {
            // it may have ended long ago, or QEMU with it
            let cancelled = self.command("migrate_cancel", ANSWER_DEADLINE).await;
            tracing::debug!(?cancelled, "a migration failed");
        }
        kept
    }

    /// QEMU keeps no state twice without having gone on in between, though it
    /// need not get to run an instruction.
    async fn leave_postmigrate(&mut self) -> Result<(), BackendError> {
        self.resume().await?;
        self.pause().await
    }

    async fn migrate(&mut self, directory: &Utf8Path) -> Result<(), BackendError> {
        let parameters = json!({ "max-bandwidth": BANDWIDTH });
        self.control
            .execute("migrate-set-parameters", &parameters)
            .await?;
        let (ours, qemus) = stream::pipe().map_err(broken("getfd"))?;
        let name = json!({ "fdname": PIPE });
        self.control
            .hand_over("getfd", &name, qemus.as_fd())
            .await?;
        drop(qemus);
        let to = json!({ "uri": format!("fd:{PIPE}") });
        self.control.execute("migrate", &to).await?;
        // its end is the migration's, whether it went well or not
        stream::keep(ours, directory).await?;
        loop {
            let answer = self.control.execute("query-migrate", &json!({})).await?;
            match answer["status"].as_str().unwrap_or_default() {
                "completed" => return Ok(()),
                state @ ("failed" | "cancelled" | "none") => {
                    let fault = answer["error-desc"].as_str().unwrap_or(state);
                    return Err(BackendError::Refused {
                        request: "migrate".to_owned(),
                        fault: fault.to_owned(),
                    });
                }
                _ => sleep(PERIOD).await,
            }
        }
    }

    async fn status(&mut self) -> Result<String, BackendError> {
        let nothing = json!({});
        let asked = self.control.execute("query-status", &nothing);
        let answer = within(ANSWER_DEADLINE, "query-status", asked).await?;
        Ok(answer["status"].as_str().unwrap_or_default().to_owned())
    }

    async fn command(&mut self, name: &str, deadline: Duration) -> Result<(), BackendError> {
        let nothing = json!({});
        let asked = self.control.execute(name, &nothing);
        within(deadline, name, asked).await.map(drop)
    }
}

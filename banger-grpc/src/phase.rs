//! What the server does at the moment, and who is told.
//!
//! Invariants: phases only go forward, from starting over serving to draining;
//! health and the answers of the services never disagree for long: health is told
//! first that the server serves no more. Entry points: [`Phases`].

use banger_api::v1::ServerPhase;
use tokio::sync::watch;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{fault::Fault, services};

/// What a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It repairs what a crash left.
    Starting,
    /// It serves.
    Serving,
    /// It begins nothing new.
    Draining,
}

/// The server's phase, for everybody who asks.
#[derive(Clone, Debug)]
pub struct Phases {
    phase: watch::Sender<Phase>,
    health: HealthReporter,
}

impl Phases {
    /// Those of a server that starts.
    pub(crate) async fn starting(health: HealthReporter) -> Self {
        let phases = Self {
            phase: watch::Sender::new(Phase::Starting),
            health,
        };
        // this one answers from the first moment on
        let own = services::SYSTEM;
        phases
            .health
            .set_service_status(own, ServingStatus::Serving)
            .await;
        phases.tell(ServingStatus::NotServing).await;
        phases
    }

    /// The phase now.
    #[must_use]
    pub fn now(&self) -> Phase {
        *self.phase.borrow()
    }

    /// The server serves from now on, unless it drains already.
    pub(crate) async fn serve(&self) {
        if self.advance(Phase::Serving) {
            self.tell(ServingStatus::Serving).await;
        }
    }

    /// The server begins nothing new from now on.
    pub(crate) async fn drain(&self) {
        self.tell(ServingStatus::NotServing).await;
        self.advance(Phase::Draining);
    }

    /// Fails unless the server serves.
    pub(crate) fn check_serving(&self) -> Result<(), Fault> {
        match self.now() {
            Phase::Starting => Err(Fault::starting()),
            Phase::Serving => Ok(()),
            Phase::Draining => Err(Fault::draining()),
        }
    }

    /// Fails while the server starts; what only reads goes on while it drains.
    pub(crate) fn check_started(&self) -> Result<(), Fault> {
        match self.now() {
            Phase::Starting => Err(Fault::starting()),
            Phase::Serving | Phase::Draining => Ok(()),
        }
    }

    fn advance(&self, next: Phase) -> bool {
        self.phase.send_if_modified(|phase| {
            let forward = *phase < next;
            if forward {
                *phase = next;
            }
            forward
        })
    }

    async fn tell(&self, status: ServingStatus) {
        let others = services::NAMES
            .iter()
            .filter(|name| **name != services::SYSTEM);
        for name in others.chain(&[""]) {
            self.health.set_service_status(*name, status).await;
        }
    }
}

impl From<Phase> for ServerPhase {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Starting => Self::Starting,
            Phase::Serving => Self::Serving,
            Phase::Draining => Self::Draining,
        }
    }
}

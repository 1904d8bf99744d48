//! Calls of one question and one answer, beside a health check, which is the cost of
//! gRPC alone.

use banger_api::v1::{
    GetServerInfoRequest, GetVmRequest, system_service_client::SystemServiceClient,
    vm_service_client::VmServiceClient,
};
use futures_util::future::try_join_all;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{Result, Samples, Server, samples::per_second};

/// How often callers at a time start together.
const ROUNDS: u32 = 10;

/// How much is asked.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The machine that is asked for, as vms/NAME.
    pub vm: String,
    /// Calls of each method, each way.
    pub calls: u32,
    /// Callers at a time on the one connection.
    pub callers: u32,
}

/// A method that is called.
#[derive(Clone, Copy, Debug)]
enum Method {
    Health,
    ServerInfo,
    Vm,
}

impl Method {
    const ALL: [Self; 3] = [Self::Health, Self::ServerInfo, Self::Vm];

    const fn name(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::ServerInfo => "server-info",
            Self::Vm => "vm",
        }
    }

    async fn call(self, channel: &Channel, vm: &str) -> Result<()> {
        let channel = channel.clone();
        match self {
            Self::Health => {
                let request = HealthCheckRequest::default();
                HealthClient::new(channel).check(request).await?;
            }
            Self::ServerInfo => {
                let request = GetServerInfoRequest {};
                let mut system = SystemServiceClient::new(channel);
                system.get_server_info(request).await?;
            }
            Self::Vm => {
                let name = vm.to_owned();
                let mut vms = VmServiceClient::new(channel);
                vms.get_vm(GetVmRequest { name }).await?;
            }
        }
        Ok(())
    }
}

/// `METHOD/alone` and `METHOD/together` in milliseconds, of one caller and of several
/// at a time, and `METHOD/rate` of the latter per second, once for each round.
pub async fn measure(server: &Server, plan: &Plan) -> Result<Samples> {
    let channel = server.ready().await?;
    let mut samples = Samples::default();
    for _ in 0..plan.calls {
        for method in Method::ALL {
            let begun = Instant::now();
            method.call(&channel, &plan.vm).await?;
            samples.took(format!("{}/alone", method.name()), begun.elapsed());
        }
    }
    let share = plan.calls.div_ceil(ROUNDS * plan.callers).max(1);
    for _ in 0..ROUNDS {
        for method in Method::ALL {
            together(&channel, plan, (method, share), &mut samples).await?;
        }
    }
    Ok(samples)
}

/// One round: every caller calls so many times, one call after the other.
async fn together(
    channel: &Channel,
    plan: &Plan,
    (method, share): (Method, u32),
    samples: &mut Samples,
) -> Result<()> {
    let begun = Instant::now();
    let callers = (0..plan.callers).map(|_| async {
        let mut taken = Vec::new();
        for _ in 0..share {
            let begun = Instant::now();
            method.call(channel, &plan.vm).await?;
            taken.push(begun.elapsed());
        }
        Result::Ok(taken)
    });
    let taken = try_join_all(callers).await?;
    let rate = per_second(u64::from(plan.callers * share), begun.elapsed());
    samples.add(format!("{}/rate", method.name()), rate);
    for one in taken.into_iter().flatten() {
        samples.took(format!("{}/together", method.name()), one);
    }
    Ok(())
}

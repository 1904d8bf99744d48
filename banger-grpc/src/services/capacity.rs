//! How much room there is, for clients.

use banger_api::v1::{self, GetCapacityResponse};

use crate::{
    backend::Hub,
    caller::Caller,
    capacity::{Amounts, Limit},
    fault::Fault,
};

pub(super) async fn capacity(hub: &Hub, caller: &Caller) -> Result<GetCapacityResponse, Fault> {
    let admission = hub.operations.admission();
    let budget = admission.budget();
    let usage = admission.usage(None).await?;
    let owned = admission.usage(Some(caller.identity())).await?;
    let limit = budget.limit();
    Ok(GetCapacityResponse {
        host: Some(limits(&budget.host)),
        overcommit: Some(v1::Overcommit {
            vcpus_percent: budget.overcommit.vcpus,
            memory_percent: budget.overcommit.memory,
            disk_percent: budget.overcommit.disk,
        }),
        limit: Some(limits(&limit)),
        committed: Some(amounts(&usage.committed)),
        reserved: Some(amounts(&usage.reserved)),
        free: Some(free(&limit, usage.committed.plus(usage.reserved))),
        quota: Some(limits(&budget.per_owner)),
        owned: Some(amounts(&owned.committed.plus(owned.reserved))),
    })
}

const fn limits(limit: &Limit) -> v1::Capacity {
    v1::Capacity {
        vms: limit.vms,
        vcpus: limit.vcpus,
        memory_bytes: limit.memory,
        disk_bytes: limit.disk,
    }
}

const fn amounts(amounts: &Amounts) -> v1::Amounts {
    v1::Amounts {
        vms: amounts.vms,
        vcpus: amounts.vcpus,
        memory_bytes: amounts.memory,
        disk_bytes: amounts.disk,
    }
}

fn free(limit: &Limit, used: Amounts) -> v1::Capacity {
    let left = |limit: Option<u64>, used: u64| Some(limit?.saturating_sub(used));
    v1::Capacity {
        vms: left(limit.vms, used.vms),
        vcpus: left(limit.vcpus, used.vcpus),
        memory_bytes: left(limit.memory, used.memory),
        disk_bytes: left(limit.disk, used.disk),
    }
}

//! Changing a server's machines, and what happened to them.

use std::collections::BTreeMap;

use banger_api::v1::{self, ErrorReason, UpdateVmRequest, VmSpec};
use banger_core::{
    domain::{Selector, Vm, VmChange},
    progress::NoProgress,
    vm::{SetVm, SetVmError, VmChangesError, VmQueryError},
};
use prost_types::FieldMask;

use super::{name_of, records, requests, vm};
use crate::{
    Failure,
    services::{Server, errors::FromServer as _, work::OnDrop},
};

/// How often labels are merged anew that somebody else changed meanwhile.
const ATTEMPTS: u32 = 8;

impl Server {
    pub(super) async fn set(&self, selector: &Selector, request: SetVm) -> Result<Vm, SetVmError> {
        let mut attempts = 0;
        loop {
            let (found, etag) = self.with_etag(selector).await?;
            let expected = request.generation;
            if expected.is_some_and(|expected| expected != found.generation) {
                return Err(SetVmError::Changed { name: found.name });
            }
            let merges = !request.labels.is_empty() || !request.removed_labels.is_empty();
            let guarded = merges || expected.is_some();
            let etag = if guarded { etag } else { String::new() };
            let update = update(&found, request.clone(), etag);
            let set = self.carry_out(update, OnDrop::Leave, &NoProgress).await;
            let changed = set
                .as_ref()
                .is_err_and(|failure| failure.reason == Some(ErrorReason::VmChanged));
            attempts += 1;
            if changed && expected.is_none() && attempts < ATTEMPTS {
                continue;
            }
            return set.and_then(vm).map_err(SetVmError::from_server);
        }
    }

    /// A machine, and the etag with which its labels are changed.
    async fn with_etag(&self, selector: &Selector) -> Result<(Vm, String), SetVmError> {
        let found = self.vm(selector).await?;
        let request = v1::GetVmRequest {
            name: name_of(&found),
        };
        let again = self.read(|| {
            let (request, mut vms) = (request.clone(), self.client.vms());
            async move { vms.get_vm(request).await }
        });
        let again = again.await.and_then(|answer| {
            let record = records::present(answer.vm, &request.name)?;
            let etag = record.etag.clone();
            Ok((records::vm(record)?, etag))
        });
        again.map_err(SetVmError::from_server)
    }

    pub(super) async fn changes(
        &self,
        selector: Option<&Selector>,
        mut after: Option<u64>,
    ) -> Result<Vec<VmChange>, VmChangesError> {
        let of = match selector {
            Some(selector) => Some(self.id_of(selector).await?),
            None => None,
        };
        loop {
            let page = self.changes_page(of.clone(), after).await;
            let page = match page {
                Err(failure) => return Err(forgotten(failure, after)),
                Ok(page) => page,
            };
            if !page.changes.is_empty() || page.next_sequence.is_none() {
                let changes = page.changes.into_iter().map(records::vm_change);
                let changes: Result<_, Failure> = changes.collect();
                return changes.map_err(VmChangesError::from_server);
            }
            // others' alone
            after = page.next_sequence;
        }
    }

    /// The id of a machine; one that is gone is meant by its whole id.
    async fn id_of(&self, selector: &Selector) -> Result<String, VmQueryError> {
        match self.vm(selector).await {
            Ok(vm) => Ok(vm.id.to_string()),
            Err(VmQueryError::NotFound { selector })
                if selector
                    .as_str()
                    .parse::<banger_core::domain::VmId>()
                    .is_ok() =>
            {
                Ok(selector.as_str().to_owned())
            }
            Err(error) => Err(error),
        }
    }
}

fn forgotten(failure: Failure, after: Option<u64>) -> VmChangesError {
    let oldest = failure
        .facts
        .get("oldest")
        .and_then(|oldest| oldest.parse().ok());
    match (failure.reason, after, oldest) {
        (Some(ErrorReason::WatchExpired), Some(after), Some(oldest)) => {
            VmChangesError::Forgotten { after, oldest }
        }
        _ => VmChangesError::from_server(failure),
    }
}

fn update(found: &Vm, request: SetVm, etag: String) -> UpdateVmRequest {
    let mut paths = Vec::new();
    let mut spec = VmSpec::default();
    let mut asked = |path: &str| paths.push(format!("spec.{path}"));
    if let Some(vcpus) = request.vcpus {
        asked("vcpus");
        spec.vcpus = vcpus;
    }
    if let Some(memory) = request.memory {
        asked("memory_bytes");
        spec.memory_bytes = memory.get();
    }
    if let Some(size) = request.disk_size {
        asked("disk_bytes");
        spec.disk_bytes = size.get();
    }
    if let Some(lease) = request.lease {
        asked("lease");
        spec.lease = lease.map(requests::lease);
    }
    if !request.labels.is_empty() || !request.removed_labels.is_empty() {
        asked("labels");
        let mut labels: BTreeMap<_, _> = found.spec.labels.clone();
        labels.retain(|key, _| !request.removed_labels.contains(key));
        labels.extend(request.labels);
        spec.labels = labels;
    }
    UpdateVmRequest {
        vm: Some(v1::Vm {
            name: name_of(found),
            spec: Some(spec),
            ..v1::Vm::default()
        }),
        update_mask: Some(FieldMask { paths }),
        etag,
        ..UpdateVmRequest::default()
    }
}

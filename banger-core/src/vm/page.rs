//! A page of the list of VMs, each as it is.

use super::{VmQueryError, reconcile::observe, supervisor::Host};
use crate::domain::{Vm, VmPage};

/// Reads records until the page is full: looking at a record may show that it is
/// none of those that are meant, or remove it.
pub(super) async fn page(host: &Host, page: VmPage) -> Result<Vec<Vm>, VmQueryError> {
    let (mut vms, mut rest) = (Vec::new(), page);
    loop {
        let records = host.store().vm_page(&rest).await;
        let records = records.map_err(VmQueryError::Store)?;
        let is_last = records.len() < rest.limit as usize;
        if let Some(last) = records.last() {
            rest.order = rest.order_after(last);
        }
        for record in records {
            if let Some(vm) = observe(host, record).await?
                && rest.matches(&vm)
            {
                rest.limit = rest.limit.saturating_sub(1);
                vms.push(vm);
            }
        }
        if is_last || rest.limit == 0 {
            return Ok(vms);
        }
    }
}

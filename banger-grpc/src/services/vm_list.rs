//! The list of machines.
//!
//! Invariants: a page is read as a page: what a list holds beside it costs nothing.

use banger_api::v1::{ListVmsRequest, ListVmsResponse};
use banger_core::domain::{Vm, VmOrder, VmPage, VmProperty, VmTerm};

use crate::{
    backend::Hub,
    caller::{Caller, OWNER_LABEL},
    convert::vm::vm,
    fault::Fault,
    request::{
        Checks,
        filter::Filter,
        mask::Mask,
        order::{By, Order, time_and_id},
        page::Page,
    },
};

/// A page of the machines that are there for the caller.
pub(super) async fn list(
    hub: &Hub,
    caller: &Caller,
    request: &ListVmsRequest,
) -> Result<ListVmsResponse, Fault> {
    let mut checks = Checks::default();
    let fields = [By::Name, By::CreateTime];
    let order = Order::parse(&request.order_by, &fields, Order::BY_NAME, &mut checks);
    let query = ["vms", &request.filter, &order.as_text()];
    let page = Page::parse(request.page_size, &request.page_token, &query, &mut checks);
    let after = page.after.as_deref();
    let position = position(order, after.unwrap_or_default(), &mut checks);
    let filter = checks.parse::<Filter>("filter", &request.filter);
    let mask = request.read_mask.as_ref();
    let mask = Mask::parse("read_mask", mask, "Vm", &mut checks);
    checks.finish()?;
    let mut terms = filter.unwrap_or_default().terms;
    terms.extend(caller.sees().map(owned_by));
    let wanted = VmPage {
        order: position,
        descending: order.descending,
        terms,
        // one more tells whether there is another page
        limit: u32::try_from(page.size + 1).unwrap_or(u32::MAX),
    };
    let due = hub.backend.vms.page(wanted).await?;
    let key = |one: &Vm| order.key(&one.name, one.created, &one.id);
    let convert = |one: &Vm| mask.apply(vm(one));
    let (vms, next_page_token) = page.take(due.iter(), key, convert);
    Ok(ListVmsResponse {
        vms,
        next_page_token,
    })
}

pub(super) fn owned_by(identity: &str) -> VmTerm {
    VmTerm {
        property: VmProperty::Label {
            key: OWNER_LABEL.to_owned(),
            value: identity.to_owned(),
        },
        negated: false,
    }
}

/// Where the page begins: after the key in its token.
fn position(order: Order, after: &str, checks: &mut Checks) -> VmOrder {
    const TOKEN: &str = "page_token";
    match order.by {
        By::Name => VmOrder::Name {
            after: checks.parse_given(TOKEN, after),
        },
        By::CreateTime if after.is_empty() => VmOrder::Created { after: None },
        By::CreateTime => {
            let after = time_and_id(after);
            let after = after.and_then(|(created, id)| Some((created, id.parse().ok()?)));
            if after.is_none() {
                checks.violated(TOKEN, "is none of this query");
            }
            VmOrder::Created { after }
        }
    }
}

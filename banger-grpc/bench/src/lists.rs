//! Pages of the list of machines, beside the same pages right from the database.

use banger_api::v1::{ListVmsRequest, vm_service_client::VmServiceClient};
use banger_core::{
    domain::{VmOrder, VmPage, VmProperty, VmTerm},
    store::Store,
};
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::{
    Result, Samples, Server,
    records::{FEW, HALF, PAGE},
};

/// Which machines are listed: all, every other one, and as many as fill a page.
const FILTERS: [(&str, Option<(&str, &str)>); 3] =
    [("all", None), ("half", Some(HALF)), ("few", Some(FEW))];

/// `FILTER/PLACE` in milliseconds for every page of so many walks, and
/// `FILTER/PLACE/store` for the same page without the service. A page is the `first`,
/// the `last`, one `between` or the `only` one.
pub async fn measure(server: &Server, walks: u32) -> Result<Samples> {
    let channel = server.ready().await?;
    let store = server.store().await?;
    let mut samples = Samples::default();
    for _ in 0..walks {
        for (name, label) in FILTERS {
            walk(&channel, &store, (name, label), &mut samples).await?;
        }
    }
    Ok(samples)
}

async fn walk(
    channel: &Channel,
    store: &Store,
    (name, label): (&str, Option<(&str, &str)>),
    samples: &mut Samples,
) -> Result<()> {
    let mut request = ListVmsRequest {
        page_size: PAGE.try_into()?,
        filter: label.map_or_else(String::new, |(key, value)| format!("labels.{key}={value}")),
        ..ListVmsRequest::default()
    };
    let mut direct = page(label);
    loop {
        let begun = Instant::now();
        let mut vms = VmServiceClient::new(channel.clone());
        let answer = vms.list_vms(request.clone()).await?.into_inner();
        let asked = begun.elapsed();
        let begun = Instant::now();
        let records = store.vm_page(&direct).await?;
        let read = begun.elapsed();
        let is_first = request.page_token.is_empty();
        request.page_token = answer.next_page_token;
        let place = match (is_first, request.page_token.is_empty()) {
            (true, true) => "only",
            (true, false) => "first",
            (false, false) => "between",
            (false, true) => "last",
        };
        samples.took(format!("{name}/{place}"), asked);
        samples.took(format!("{name}/{place}/store"), read);
        let listed = answer.vms.len();
        if listed != records.len().min(PAGE as usize) {
            return Err(format!("{listed} machines on a page of {}", records.len()).into());
        }
        let Some(last) = records.get(listed.saturating_sub(1)) else {
            return Ok(());
        };
        direct.order = direct.order_after(last);
        if request.page_token.is_empty() {
            return Ok(());
        }
    }
}

/// The first page, with one record more, as the service reads it.
fn page(label: Option<(&str, &str)>) -> VmPage {
    let terms = label.into_iter().map(|(key, value)| VmTerm {
        property: VmProperty::Label {
            key: key.to_owned(),
            value: value.to_owned(),
        },
        negated: false,
    });
    VmPage {
        order: VmOrder::Name { after: None },
        descending: false,
        terms: terms.collect(),
        limit: PAGE + 1,
    }
}

//! `OperationService`.

use std::{pin::Pin, time::Duration};

use banger_api::v1::{
    CancelOperationRequest, CancelOperationResponse, GetOperationRequest, GetOperationResponse,
    ListOperationsRequest, ListOperationsResponse, WaitOperationRequest, WaitOperationResponse,
    WatchOperationRequest, WatchOperationResponse, operation_service_server::OperationService,
};
use banger_core::domain::{Operation, OperationId};
use futures_util::{Stream, stream};
use tonic::{Request, Response, Status};

use crate::{
    backend::{Front, Hub},
    caller::Caller,
    convert::operation::operation,
    fault::Fault,
    operations::Events,
    request::{
        Checks, MAX_WAIT, caller,
        mask::Mask,
        name::OperationName,
        order::{By, Order},
        page::Page,
    },
};

/// How long a client waits that does not say.
const DEFAULT_WAIT: Duration = Duration::from_secs(30);

/// Over the server's operations.
#[derive(Debug)]
pub(crate) struct OperationsOf(pub(crate) Front);

async fn find(hub: &Hub, caller: &Caller, name: &str) -> Result<Operation, Fault> {
    let mut checks = Checks::default();
    let name = OperationName::parse(name, &mut checks);
    checks.finish()?;
    match name {
        Some(name) => hub.operations.find(caller, &name).await,
        None => Err(Fault::invalid(Vec::new())),
    }
}

impl OperationsOf {
    async fn get(&self, request: Request<GetOperationRequest>) -> Result<Operation, Fault> {
        let hub = self.0.reading()?;
        find(hub, &caller(&request), &request.get_ref().name).await
    }

    async fn list(
        &self,
        request: Request<ListOperationsRequest>,
    ) -> Result<ListOperationsResponse, Fault> {
        let hub = self.0.reading()?;
        let (caller, request) = (caller(&request), request.into_inner());
        let mut checks = Checks::default();
        let order = Order::parse(
            &request.order_by,
            &[By::CreateTime],
            Order::NEWEST_FIRST,
            &mut checks,
        );
        let query = ["operations", &order.as_text()];
        let page = Page::parse(request.page_size, &request.page_token, &query, &mut checks);
        let mask = request.read_mask.as_ref();
        let mask = Mask::parse("read_mask", mask, "Operation", &mut checks);
        let after = page.after.as_deref().unwrap_or_default();
        let after = checks.parse_given::<OperationId>("page_token", after);
        checks.finish()?;
        let limit = u32::try_from(page.size).unwrap_or(u32::MAX);
        let limit = limit.saturating_add(1);
        let listing = hub.operations.list(&caller, after, order.descending, limit);
        let found = listing.await?;
        let key = |one: &Operation| one.id.to_string();
        let (operations, next_page_token) =
            page.take(found.iter(), key, |one| mask.apply(operation(one)));
        Ok(ListOperationsResponse {
            operations,
            next_page_token,
        })
    }

    async fn watch(&self, request: Request<WatchOperationRequest>) -> Result<Events, Fault> {
        let hub = self.0.reading()?;
        let (caller, request) = (caller(&request), request.into_inner());
        let found = find(hub, &caller, &request.name).await?;
        let operations = &hub.operations;
        Ok(operations.watch(caller, found.id, request.from_sequence))
    }

    async fn wait(&self, request: Request<WaitOperationRequest>) -> Result<Operation, Fault> {
        let hub = self.0.reading()?;
        let mut checks = Checks::default();
        let limit = checks.duration("timeout", request.get_ref().timeout);
        checks.finish()?;
        let caller = caller(&request);
        let found = find(hub, &caller, &request.get_ref().name).await?;
        let limit = limit.unwrap_or(DEFAULT_WAIT).min(MAX_WAIT);
        hub.operations.wait(&caller, found.id, limit).await
    }

    async fn cancel(&self, request: Request<CancelOperationRequest>) -> Result<Operation, Fault> {
        let hub = self.0.reading()?;
        let caller = caller(&request);
        let found = find(hub, &caller, &request.get_ref().name).await?;
        hub.operations.cancel(&caller, found.id).await
    }
}

type Watched = Pin<Box<dyn Stream<Item = Result<WatchOperationResponse, Status>> + Send>>;

#[tonic::async_trait]
impl OperationService for OperationsOf {
    async fn get_operation(
        &self,
        request: Request<GetOperationRequest>,
    ) -> Result<Response<GetOperationResponse>, Status> {
        let found = Some(operation(&self.get(request).await?));
        Ok(Response::new(GetOperationResponse { operation: found }))
    }

    async fn list_operations(
        &self,
        request: Request<ListOperationsRequest>,
    ) -> Result<Response<ListOperationsResponse>, Status> {
        Ok(Response::new(self.list(request).await?))
    }

    type WatchOperationStream = Watched;

    async fn watch_operation(
        &self,
        request: Request<WatchOperationRequest>,
    ) -> Result<Response<Watched>, Status> {
        let events = self.watch(request).await?;
        let watched = stream::try_unfold(events, |mut events| async {
            let event = events.next().await?;
            let answer = |event| WatchOperationResponse { event: Some(event) };
            Ok(event.map(|event| (answer(event), events)))
        });
        Ok(Response::new(Box::pin(watched)))
    }

    async fn wait_operation(
        &self,
        request: Request<WaitOperationRequest>,
    ) -> Result<Response<WaitOperationResponse>, Status> {
        let found = Some(operation(&self.wait(request).await?));
        Ok(Response::new(WaitOperationResponse { operation: found }))
    }

    async fn cancel_operation(
        &self,
        request: Request<CancelOperationRequest>,
    ) -> Result<Response<CancelOperationResponse>, Status> {
        let found = Some(operation(&self.cancel(request).await?));
        Ok(Response::new(CancelOperationResponse { operation: found }))
    }
}

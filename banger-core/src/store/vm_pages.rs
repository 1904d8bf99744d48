//! Pages of the list of VMs, as queries.
//!
//! Invariants: one statement reads one page and no other row is made into a
//! record; what a client wrote is bound and never part of a statement.

use sqlx::{QueryBuilder, Sqlite};

use super::{Store, StoreError, row::from_time, vms::VmRow};
use crate::domain::{Vm, VmOrder, VmPage, VmProperty, VmState, VmTerm};

/// States out of which a VM comes when its monitor or its maker is gone: a record
/// that has one may have another as soon as it is looked at.
const PASSING: [VmState; 6] = [
    VmState::Creating,
    VmState::Starting,
    VmState::Running,
    VmState::Paused,
    VmState::Stopping,
    VmState::Deleting,
];

impl Store {
    /// The records of a page. Those that may turn out to have a state that is
    /// asked for are among them.
    pub async fn vm_page(&self, page: &VmPage) -> Result<Vec<Vm>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM vms WHERE TRUE");
        let (beyond, direction) = if page.descending {
            (" < ", " DESC")
        } else {
            (" > ", "")
        };
        for term in &page.terms {
            push_term(&mut query, term);
        }
        push_order(&mut query, &page.order, beyond, direction);
        query.push(" LIMIT ").push_bind(page.limit);
        let rows: Vec<VmRow> = query
            .build_query_as()
            .fetch_all(&self.reader)
            .await
            .map_err(StoreError::query("read a page of the records of VMs"))?;
        rows.into_iter().map(TryInto::try_into).collect()
    }
}

fn push_order(
    query: &mut QueryBuilder<Sqlite>,
    order: &VmOrder,
    beyond: &'static str,
    direction: &'static str,
) {
    match order {
        VmOrder::Name { after } => {
            if let Some(name) = after {
                query.push(" AND name").push(beyond);
                query.push_bind(name.to_string());
            }
            query.push(" ORDER BY name").push(direction);
        }
        VmOrder::Created { after } => {
            if let Some((created, id)) = after {
                query.push(" AND (created_at, id)").push(beyond);
                query.push("(").push_bind(from_time(*created));
                query.push(", ").push_bind(id.to_string()).push(")");
            }
            query.push(" ORDER BY created_at").push(direction);
            query.push(", id").push(direction);
        }
    }
}

fn push_term(query: &mut QueryBuilder<Sqlite>, term: &VmTerm) {
    let is = if term.negated { " IS NOT " } else { " IS " };
    query.push(" AND (");
    match &term.property {
        VmProperty::State(state) => {
            query.push("state").push(is).push_bind(state.as_str());
            query.push(" OR state IN (");
            let mut list = query.separated(", ");
            for passing in PASSING {
                list.push_bind(passing.as_str());
            }
            query.push(")");
        }
        VmProperty::Name(name) => {
            query.push("name").push(is).push_bind(name.clone());
        }
        VmProperty::Id(id) => {
            query.push("id").push(is).push_bind(id.clone());
        }
        VmProperty::Image(id) => {
            query.push("image_id").push(is).push_bind(id.clone());
        }
        VmProperty::Label { key, value } => {
            if !term.negated {
                // the value as it stands in the text: few others have to be parsed
                let written = serde_json::Value::from(value.as_str()).to_string();
                query.push("instr(vms.labels, ").push_bind(written);
                query.push(") AND ");
            }
            query.push("(SELECT value FROM json_each(vms.labels) WHERE key = ");
            query.push_bind(key.clone()).push(")");
            query.push(is).push_bind(value.clone());
        }
    }
    query.push(")");
}

//! Leases, as one JSON column.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    StoreError,
    row::{from_json, from_time, to_json, to_time},
};
use crate::domain::{GrantedLease, Lease, Moment, OnExpiry, SinceBoot};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LeaseColumn {
    max_lifetime_nanos: Option<u64>,
    idle_timeout_nanos: Option<u64>,
    on_expiry: String,
    granted_at: i64,
    granted_since_boot: Option<SinceBootColumn>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SinceBootColumn {
    boot_id: String,
    nanos: u64,
}

pub(super) fn lease_column(
    object: &str,
    lease: Option<&GrantedLease>,
) -> Result<Option<String>, StoreError> {
    let column = |granted: &GrantedLease| LeaseColumn {
        max_lifetime_nanos: granted.lease.max_lifetime.map(nanos),
        idle_timeout_nanos: granted.lease.idle_timeout.map(nanos),
        on_expiry: granted.lease.on_expiry.as_str().to_owned(),
        granted_at: from_time(granted.granted.wall),
        granted_since_boot: granted
            .granted
            .since_boot
            .as_ref()
            .map(|since| SinceBootColumn {
                boot_id: since.boot_id.clone(),
                nanos: nanos(since.elapsed),
            }),
    };
    lease
        .map(|granted| to_json(object, &column(granted)))
        .transpose()
}

pub(super) fn lease(
    object: &str,
    column: Option<&str>,
) -> Result<Option<GrantedLease>, StoreError> {
    let Some(column) = column else {
        return Ok(None);
    };
    let column: LeaseColumn = from_json(object, column)?;
    let on_expiry = OnExpiry::ALL
        .into_iter()
        .find(|choice| choice.as_str() == column.on_expiry);
    let unknown = || {
        let problem = format!("lease's end {:?} is unknown", column.on_expiry);
        StoreError::damaged(object, &problem)
    };
    Ok(Some(GrantedLease {
        lease: Lease {
            max_lifetime: column.max_lifetime_nanos.map(Duration::from_nanos),
            idle_timeout: column.idle_timeout_nanos.map(Duration::from_nanos),
            on_expiry: on_expiry.ok_or_else(unknown)?,
        },
        granted: Moment {
            wall: to_time(column.granted_at),
            since_boot: column.granted_since_boot.map(|since| SinceBoot {
                boot_id: since.boot_id,
                elapsed: Duration::from_nanos(since.nanos),
            }),
        },
    }))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

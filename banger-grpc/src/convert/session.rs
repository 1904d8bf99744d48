//! Sessions.

use banger_api::{choices, v1};
use banger_core::domain::Session;

use super::{duration, timestamp};
use crate::request::name::SESSIONS;

pub(crate) fn session(session: &Session) -> v1::Session {
    let life = session.lease.lease.max_lifetime;
    let kept = session.lease.granted.wall;
    v1::Session {
        name: SESSIONS.name(&session.name),
        uid: session.id.to_string(),
        create_time: timestamp(session.created),
        expire_time: life.and_then(|life| timestamp(kept.checked_add(life)?)),
        end_time: session.ended.and_then(timestamp),
        time_to_live: life.and_then(duration),
        on_expiry: choices::on_expiry(session.lease.lease.on_expiry).into(),
    }
}

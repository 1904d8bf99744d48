//! Columns to values and back, shared by all tables.

use std::{
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Serialize, de::DeserializeOwned};

use super::StoreError;
use crate::domain::{Bytes, Verdict};

/// Parses a text column.
pub(super) fn parse<T>(object: &str, text: &str) -> Result<T, StoreError>
where
    T: FromStr<Err: std::fmt::Display>,
{
    text.parse()
        .map_err(|error| StoreError::damaged(object, &error))
}

/// Parses a text column that may be null.
pub(super) fn parse_optional<T>(object: &str, text: Option<&str>) -> Result<Option<T>, StoreError>
where
    T: FromStr<Err: std::fmt::Display>,
{
    text.map(|text| parse(object, text)).transpose()
}

/// Reads a JSON column.
pub(super) fn from_json<T: DeserializeOwned>(object: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::damaged(object, &error))
}

/// Writes a JSON column.
pub(super) fn to_json(object: &str, value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::damaged(object, &error))
}

/// The two columns of a policy's verdict, which are null together.
pub(super) fn verdict(
    object: &str,
    rule: Option<String>,
    vouched: Option<&str>,
) -> Result<Option<Verdict>, StoreError> {
    match (rule, vouched) {
        (None, None) => Ok(None),
        (Some(rule), Some(vouched)) => Ok(Some(Verdict {
            rule,
            vouched: parse(object, vouched)?,
        })),
        _ => Err(StoreError::damaged(object, &"half a verdict is missing")),
    }
}

/// Nanoseconds since 1970, saturating at the ends of the column's range.
pub(super) fn from_time(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The time of so many nanoseconds since 1970; earlier ones become 1970.
pub(super) fn to_time(nanoseconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0))
}

/// A size column, saturating at the end of the column's range.
pub(super) fn from_bytes(bytes: Bytes) -> i64 {
    i64::try_from(bytes.get()).unwrap_or(i64::MAX)
}

/// A size column's value.
pub(super) fn to_bytes(object: &str, value: i64) -> Result<Bytes, StoreError> {
    let size = u64::try_from(value).map_err(|error| StoreError::damaged(object, &error))?;
    Ok(Bytes::new(size))
}

//! Orders of lists: `name` or `create_time`, and perhaps `desc`. Pure.
//!
//! Invariants: only what never changes about an object orders a list, so that a
//! walk through its pages meets what stays exactly once. Entry points: [`Order`].

use std::{
    fmt::Display,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::Checks;

/// The field by which a list is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Name,
    CreateTime,
}

impl By {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::CreateTime => "create_time",
        }
    }
}

/// The order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) by: By,
    pub(crate) descending: bool,
}

impl Order {
    pub(crate) const BY_NAME: Self = Self {
        by: By::Name,
        descending: false,
    };
    pub(crate) const NEWEST_FIRST: Self = Self {
        by: By::CreateTime,
        descending: true,
    };

    /// What a request says, with one of these fields; `default` when it says nothing.
    pub(crate) fn parse(text: &str, fields: &[By], default: Self, checks: &mut Checks) -> Self {
        let mut words = text.split_ascii_whitespace();
        let Some(name) = words.next() else {
            return default;
        };
        let by = fields.iter().find(|by| by.as_str() == name);
        let descending = match (words.next(), words.next()) {
            (None | Some("asc"), None) => Some(false),
            (Some("desc"), None) => Some(true),
            _ => None,
        };
        if let (Some(by), Some(descending)) = (by, descending) {
            return Self {
                by: *by,
                descending,
            };
        }
        let fields: Vec<&str> = fields.iter().map(|by| by.as_str()).collect();
        let fields = fields.join(" or ");
        checks.violated("order_by", format!("is not {fields}, asc or desc"));
        default
    }

    /// What orders an object: two keys compare as texts.
    pub(crate) fn key(self, name: &impl Display, created: SystemTime, id: &impl Display) -> String {
        match self.by {
            By::Name => name.to_string(),
            By::CreateTime => {
                let since = created.duration_since(UNIX_EPOCH).unwrap_or_default();
                format!("{:020}.{id}", since.as_nanos())
            }
        }
    }

    /// The order in a text of its own, for what belongs to one order.
    pub(crate) fn as_text(self) -> String {
        format!("{} {}", self.by.as_str(), self.descending)
    }
}

/// The time and the id of a key.
pub(crate) fn time_and_id(key: &str) -> Option<(SystemTime, &str)> {
    let (nanoseconds, id) = key.split_once('.')?;
    let since = Duration::from_nanos(nanoseconds.parse().ok()?);
    Some((UNIX_EPOCH.checked_add(since)?, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [By; 2] = [By::Name, By::CreateTime];

    #[test]
    fn a_field_and_a_direction_are_all_there_is() {
        let order = |by, descending| Some(Order { by, descending });
        for (text, expected) in [
            ("", order(By::Name, false)),
            ("name", order(By::Name, false)),
            ("name desc", order(By::Name, true)),
            (" create_time  asc ", order(By::CreateTime, false)),
            ("create_time desc", order(By::CreateTime, true)),
            ("name down", None),
            ("name desc desc", None),
            ("name,create_time", None),
            ("state", None),
            ("desc", None),
        ] {
            let mut checks = Checks::default();
            let parsed = Order::parse(text, &BOTH, Order::BY_NAME, &mut checks);
            assert_eq!(checks.finish().is_ok(), expected.is_some(), "{text:?}");
            assert_eq!(parsed, expected.unwrap_or(Order::BY_NAME), "{text:?}");
        }
        let mut checks = Checks::default();
        Order::parse("name", &[By::CreateTime], Order::NEWEST_FIRST, &mut checks);
        assert!(checks.finish().is_err());
    }

    #[test]
    fn keys_sort_as_what_they_are_of_and_lead_back() {
        let at = |nanoseconds| UNIX_EPOCH + Duration::from_nanos(nanoseconds);
        let order = Order::NEWEST_FIRST;
        let (early, late) = (at(9), at(u64::MAX));
        let (first, last) = (order.key(&"z", early, &"b"), order.key(&"a", late, &"a"));
        assert!(first < last);
        assert_eq!(time_and_id(&first), Some((early, "b")));
        assert_eq!(time_and_id(&last), Some((late, "a")));
        assert_eq!(Order::BY_NAME.key(&"z", early, &"b"), "z");
        for text in ["", "1", ".a", "x.a", "99999999999999999999999.a"] {
            assert_eq!(time_and_id(text), None, "{text}");
        }
    }
}

//! What was measured, by name.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

/// Values by the name of what they are of, in the order in which they were taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples(BTreeMap<String, Vec<f64>>);

impl Samples {
    pub(crate) fn add(&mut self, name: impl Into<String>, value: f64) {
        self.0.entry(name.into()).or_default().push(value);
    }

    /// The same in milliseconds.
    pub(crate) fn took(&mut self, name: impl Into<String>, taken: Duration) {
        self.add(name, taken.as_secs_f64() * 1000.0);
    }

    /// What was measured of that name.
    #[must_use]
    pub fn of(&self, name: &str) -> &[f64] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// An object with an array for each name.
    #[must_use]
    pub fn json(&self) -> Value {
        let arrays = self.0.iter();
        arrays
            .map(|(name, values)| (name.clone(), Value::from(values.as_slice())))
            .collect()
    }
}

/// How many fit into a second.
#[expect(clippy::cast_precision_loss, reason = "nobody counts to 2^52 here")]
pub(crate) fn per_second(count: u64, taken: Duration) -> f64 {
    count as f64 / taken.as_secs_f64()
}

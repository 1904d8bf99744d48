//! The client that measures: a program of its own, which prints what it measured.

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::Value;

use super::{
    super::{host::Host, program::release, report::Row},
    daemon::Daemon,
};
use crate::{
    Result,
    paths::workspace,
    run::{capture, command},
};

/// The client of a service.
#[derive(Debug)]
pub(super) struct Client {
    socket: PathBuf,
    state: PathBuf,
}

/// What it measured, by name.
#[derive(Debug, Default)]
pub(super) struct Samples(BTreeMap<String, Vec<f64>>);

impl Client {
    pub(super) fn of(host: &Host, daemon: &Daemon) -> Self {
        Self {
            socket: daemon.socket().to_owned(),
            state: host.directory().join("state"),
        }
    }

    pub(super) fn ask(&self, arguments: &[&str]) -> Result<Samples> {
        let mut client = command(release("banger-bench"), workspace());
        client
            .arg("--socket")
            .arg(&self.socket)
            .arg("--state-dir")
            .arg(&self.state)
            .args(arguments);
        Samples::parse(&capture(&mut client)?)
    }
}

impl Samples {
    fn parse(text: &str) -> Result<Self> {
        let measured: Value = serde_json::from_str(text)
            .map_err(|error| format!("the client printed {text}: {error}"))?;
        let arrays = measured.as_object().into_iter().flatten();
        let values = |array: &Value| {
            let values = array.as_array().into_iter().flatten();
            values.filter_map(Value::as_f64).collect()
        };
        let samples = arrays.map(|(name, array)| (name.clone(), values(array)));
        Ok(Self(samples.collect()))
    }

    pub(super) fn of(&self, name: &str) -> &[f64] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// The one value of that name.
    pub(super) fn single(&self, name: &str) -> Result<f64> {
        match self.of(name) {
            [value] => Ok(*value),
            values => Err(format!("{name} was measured {} times", values.len())),
        }
    }

    /// A row of milliseconds with their tail.
    pub(super) fn times(&self, title: impl Into<String>, name: &str) -> Result<Row> {
        let values = self.of(name);
        Row::of(title, "ms", values).map(|row| row.with_p99(values))
    }

    /// Those of a test.
    #[cfg(test)]
    pub(super) fn from(taken: &[(&str, &[f64])]) -> Self {
        let own = |(name, values): &(&str, &[f64])| ((*name).to_owned(), values.to_vec());
        Self(taken.iter().map(own).collect())
    }
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn what_was_measured_has_names() {
        let samples = Samples::parse(r#"{"a":[1.5,2],"b":[3]}"#).unwrap();
        assert_eq!(samples.of("a"), [1.5, 2.0]);
        assert_eq!(samples.single("b"), Ok(3.0));
        assert!(samples.single("a").is_err() && samples.single("c").is_err());
        assert!(Samples::parse("nothing").is_err());
    }
}

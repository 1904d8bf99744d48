//! What was measured, as tables for people or as JSON. Pure but for printing.
//! Entry points: [`Report`], [`Section`], [`Row`].

use serde_json::{Value, json};

use super::{
    machine::{load, machine},
    statistics::{Spread, percentile, ratio},
};
use crate::Result;

/// All that was measured.
#[derive(Debug)]
pub(super) struct Report {
    machine: String,
    sections: Vec<Section>,
}

/// One table.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) title: String,
    /// What its figures mean.
    pub(super) notes: Vec<String>,
    pub(super) rows: Vec<Row>,
}

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    name: String,
    unit: &'static str,
    spread: Spread,
    count: usize,
    p99: Option<f64>,
    /// Against what it is compared with.
    ratio: Option<f64>,
    /// It shall be at most this.
    target: Option<f64>,
}

impl Row {
    /// A figure that was measured several times.
    pub(super) fn of(name: impl Into<String>, unit: &'static str, values: &[f64]) -> Result<Self> {
        let name = name.into();
        let spread = Spread::of(values.iter().copied());
        let spread = spread.ok_or_else(|| format!("{name}: nothing was measured"))?;
        Ok(Self {
            name,
            unit,
            spread,
            count: values.len(),
            p99: None,
            ratio: None,
            target: None,
        })
    }

    /// A figure made of others.
    pub(super) fn single(name: impl Into<String>, unit: &'static str, value: f64) -> Self {
        let spread = Spread {
            median: value,
            least: value,
            most: value,
        };
        Self {
            name: name.into(),
            unit,
            spread,
            count: 1,
            p99: None,
            ratio: None,
            target: None,
        }
    }

    pub(super) fn with_p99(mut self, values: &[f64]) -> Self {
        self.p99 = percentile(values.iter().copied(), 99);
        self
    }

    pub(super) fn against(mut self, base: &Self) -> Self {
        self.ratio = ratio(self.spread.median, base.spread.median);
        self
    }

    pub(super) const fn at_most(mut self, target: f64) -> Self {
        self.target = Some(target);
        self
    }

    pub(super) const fn median(&self) -> f64 {
        self.spread.median
    }

    fn is_met(&self) -> Option<bool> {
        self.target.map(|target| self.spread.median <= target)
    }

    fn line(&self) -> String {
        let value = if self.count == 1 {
            format!("{:.2}", self.spread.median)
        } else {
            self.spread.to_string()
        };
        let p99 = self.p99.map_or_else(String::new, |p99| format!("{p99:.2}"));
        let ratio = self
            .ratio
            .map_or_else(String::new, |ratio| format!("{ratio:.2}x"));
        let target = match (self.target, self.is_met()) {
            (Some(target), Some(true)) => format!("at most {target}: met"),
            (Some(target), _) => format!("at most {target}: MISSED"),
            _ => String::new(),
        };
        columns(&[&self.name, &value, self.unit, &p99, &ratio, &target])
    }

    fn json(&self) -> Value {
        json!({
            "figure": self.name,
            "unit": self.unit,
            "count": self.count,
            "value": self.spread.json(),
            "p99": self.p99,
            "ratio": self.ratio,
            "at_most": self.target,
            "met": self.is_met(),
        })
    }
}

impl Section {
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![String::new(), self.title.clone()];
        lines.extend(self.notes.iter().map(|note| format!("  ({note})")));
        lines.push(header());
        lines.extend(self.rows.iter().map(Row::line));
        lines
    }

    fn json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
        json!({"title": self.title, "notes": self.notes, "figures": rows})
    }
}

impl Report {
    /// `backend` is how guests ran, when one did.
    pub(super) fn new(sections: Vec<Section>, backend: Option<String>) -> Result<Self> {
        let backend = backend.map(|backend| format!("; Linux guests on {backend}"));
        let machine = machine()?;
        let (backend, load) = (backend.unwrap_or_default(), load());
        Ok(Self {
            machine: format!("{machine}{backend}; load at the end {load}"),
            sections,
        })
    }

    fn text(&self) -> String {
        let mut lines = vec![self.machine.clone()];
        lines.extend(self.sections.iter().flat_map(Section::lines));
        lines.join("\n")
    }

    fn json(&self) -> Value {
        let sections: Vec<Value> = self.sections.iter().map(Section::json).collect();
        json!({"machine": self.machine, "sections": sections})
    }
}

/// Prints a report; this is what the task is for.
#[expect(clippy::print_stdout, reason = "the result of the task")]
pub(super) fn print(report: &Report, json: bool) {
    if json {
        println!("{:#}", report.json());
    } else {
        println!("{}", report.text());
    }
}

fn header() -> String {
    columns(&["", "median (range)", "", "p99", "ratio", "target"])
}

fn columns(cells: &[&str; 6]) -> String {
    let [name, value, unit, p99, ratio, target] = cells;
    let line = format!("  {name:<44}{value:>28} {unit:<5}{p99:>9}{ratio:>8}  {target}");
    line.trim_end().to_owned()
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn a_row_tells_value_ratio_and_target() {
        let base = Row::of("bare", "ms", &[100.0, 110.0, 90.0]).unwrap();
        let row = Row::of("banger", "ms", &[150.0, 160.0, 140.0]).unwrap();
        let row = row.against(&base).at_most(150.0);
        let line = row.line();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(
            words,
            [
                "banger",
                "150.00",
                "(140.00..160.00)",
                "ms",
                "1.50x",
                "at",
                "most",
                "150:",
                "met"
            ]
        );
        assert!(row.at_most(149.0).line().ends_with("MISSED"));
        assert!(Row::of("nothing", "ms", &[]).is_err());
    }

    #[test]
    fn a_single_figure_has_no_range() {
        let row = Row::single("difference", "ms", 12.5);
        assert!(row.line().ends_with("12.50 ms"));
        assert_eq!(row.is_met(), None);
    }

    #[test]
    fn the_tail_is_the_p99() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        let row = Row::of("calls", "ms", &values).unwrap().with_p99(&values);
        assert_eq!(row.json()["p99"], 99.0);
        assert_eq!(row.json()["value"]["median"], 50.5);
        assert_eq!(row.json()["met"], Value::Null);
    }
}

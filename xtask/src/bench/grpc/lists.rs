//! Pages of the list of machines.

use super::{
    super::{
        host::Host,
        report::{Row, Section},
        statistics::percentile,
    },
    client::{Client, Samples},
    daemon::Daemon,
};
use crate::{Result, run::step};

/// Milliseconds in which a page is there, but for one in a hundred.
const TARGET: f64 = 10.0;

/// Lists by what is listed.
const LISTS: [(&str, &str); 3] = [
    ("all", "all"),
    ("half", "a label that half of them have"),
    ("few", "a label that one page of them has"),
];
/// Pages by where they are.
const PLACES: [(&str, &str); 4] = [
    ("only", "the only page"),
    ("first", "the first page"),
    ("between", "pages between"),
    ("last", "the last page"),
];

pub(super) fn measure(host: &Host, records: u32, walks: u32) -> Result<Section> {
    let daemon = Daemon::start(host)?;
    let client = Client::of(host, &daemon);
    let walks = walks.to_string();
    let samples = step("reading lists", || {
        client.ask(&["lists", "--walks", &walks])
    })?;
    Ok(Section {
        title: format!("ListVms: pages of 100 from {records} records, every page of {walks} walks"),
        notes: vec![
            "ratios are to the same page read from the database by the client itself, in turn"
                .to_owned(),
        ],
        rows: rows(&samples)?,
    })
}

fn rows(samples: &Samples) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (list, what) in LISTS {
        let mut all = Vec::new();
        for (place, title) in PLACES {
            let name = format!("{list}/{place}");
            let values = samples.of(&name);
            if values.is_empty() {
                continue;
            }
            all.extend_from_slice(values);
            let store = samples.times("  the database alone", &format!("{name}/store"))?;
            let row = samples.times(format!("{what}: {title}"), &name)?;
            rows.extend([row.against(&store), store]);
        }
        let p99 = percentile(all, 99).ok_or_else(|| format!("no page of {list} was read"))?;
        rows.push(Row::single(format!("{what}: p99 of all pages"), "ms", p99).at_most(TARGET));
    }
    Ok(rows)
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn pages_are_told_apart_and_judged_together() {
        let samples = Samples::from(&[
            ("all/first", &[5.0]),
            ("all/first/store", &[1.0]),
            ("all/last", &[2.0, 4.0]),
            ("all/last/store", &[1.0, 2.0]),
            ("half/only", &[6.0]),
            ("half/only/store", &[2.0]),
            ("few/only", &[7.0]),
            ("few/only/store", &[7.0]),
        ]);
        let rows = rows(&samples).unwrap();
        let medians: Vec<f64> = rows.iter().map(Row::median).collect();
        assert_eq!(
            medians,
            [5.0, 1.0, 3.0, 1.5, 5.0, 6.0, 2.0, 6.0, 7.0, 7.0, 7.0]
        );
    }
}

//! What was measured, as a table for people or as JSON.

use serde_json::{Value, json};

use super::{
    super::{
        machine::machine,
        statistics::{Spread, ratio},
    },
    Samples,
    limit::Limit,
    measure::{Disk, Sample},
    pipelines::{Pipeline, Subject},
};
use crate::Result;

/// All that was measured.
pub(super) struct Report {
    machine: String,
    images: Vec<ImageReport>,
    /// Milliseconds.
    empty: Option<Spread>,
}

/// What was measured of one image.
pub(super) struct ImageReport {
    pub(super) subject: Subject,
    pub(super) facts: Disk,
    pub(super) samples: Samples,
    pub(super) limits: Vec<Limit>,
}

impl Report {
    pub(super) fn new(images: Vec<ImageReport>, empty: Vec<f64>) -> Result<Self> {
        Ok(Self {
            machine: machine()?,
            images,
            empty: Spread::of(empty),
        })
    }

    fn text(&self) -> String {
        let mut lines = vec![
            self.machine.clone(),
            "peak: memory of the largest process; written: against content in whole blocks, and metadata".to_owned(),
        ];
        for image in &self.images {
            lines.push(String::new());
            lines.extend(image.lines());
        }
        if let Some(empty) = self.empty {
            lines.push(String::new());
            lines.push(format!("empty disk of 64 GiB: {empty} ms"));
        }
        lines.join("\n")
    }

    fn json(&self) -> Value {
        let images = self.images.iter().map(ImageReport::json);
        json!({
            "machine": self.machine,
            "images": images.collect::<Vec<_>>(),
            "empty_milliseconds": self.empty.map(Spread::json),
        })
    }
}

impl ImageReport {
    pub(super) const fn new(subject: Subject, facts: Disk) -> Self {
        Self {
            subject,
            facts,
            samples: Vec::new(),
            limits: Vec::new(),
        }
    }

    /// Each pipeline that was run, in the order of the table.
    fn rows(&self) -> impl Iterator<Item = Row> {
        Pipeline::ALL
            .into_iter()
            .filter_map(|pipeline| self.row(pipeline))
    }

    fn row(&self, pipeline: Pipeline) -> Option<Row> {
        let of_it = self.samples.iter().filter(|(ran, _)| *ran == pipeline);
        Row::of(pipeline, of_it.map(|(_, sample)| *sample))
    }

    fn limit(&self, seconds: impl Fn(&Limit) -> f64) -> Option<Spread> {
        Spread::of(self.limits.iter().map(seconds))
    }

    /// The median of a pipeline against that of another.
    fn compare(&self, pipeline: Pipeline, base: Pipeline) -> Option<f64> {
        let (row, base) = (self.row(pipeline)?, self.row(base)?);
        ratio(row.seconds.median, base.seconds.median)
    }

    fn against_limit(&self, seconds: impl Fn(&Limit) -> f64) -> Option<f64> {
        let ours = self.row(Pipeline::Layout)?;
        ratio(ours.seconds.median, self.limit(seconds)?.median)
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!(
                "{}: {}; {} entries and {} MB of content show",
                self.subject.image.name(),
                self.subject.counts,
                self.facts.entries,
                self.facts.content / 1_000_000
            ),
            header(),
        ];
        lines.extend(self.rows().map(|row| {
            let against = self.compare(row.pipeline, Pipeline::Layout);
            row.line(against)
        }));
        lines.extend(self.limit_lines());
        if let Some(ratio) = self.compare(Pipeline::Registry, Pipeline::Skopeo) {
            lines.push(format!("registry against skopeo: {ratio:.2}x"));
        }
        lines
    }

    fn limit_lines(&self) -> Vec<String> {
        let Some(limit) = self.limit(Limit::seconds) else {
            return Vec::new();
        };
        let verified = self.limit(Limit::seconds_verified).unwrap_or(limit);
        let part = |name, seconds: fn(&Limit) -> f64| {
            let seconds = self.limit(seconds).map_or(0.0, |spread| spread.median);
            format!("{name} {seconds:.2}")
        };
        let parts = [
            part("inflate", |limit| limit.inflate),
            part("sha256 of blobs", |limit| limit.hash_compressed),
            part("of archives", |limit| limit.hash_inflated),
            part("write", |limit| limit.write),
            part("(inflate by zlib-rs", |limit| limit.inflate_zlib_rs) + ")",
        ];
        vec![
            format!("parts of the limit: {}", parts.join(", ")),
            format!(
                "limit: {limit}; layout stands at {}",
                times(self.against_limit(Limit::seconds))
            ),
            format!(
                "limit with both digests: {verified}; layout stands at {}",
                times(self.against_limit(Limit::seconds_verified))
            ),
        ]
    }

    fn json(&self) -> Value {
        let rows = self.rows().map(|row| {
            let against = self.compare(row.pipeline, Pipeline::Layout);
            row.json(against)
        });
        let part = |seconds: fn(&Limit) -> f64| self.limit(seconds).map(Spread::json);
        json!({
            "image": self.subject.image.name(),
            "layers": self.subject.counts.layers,
            "compressed_bytes": self.subject.counts.compressed,
            "entries": self.facts.entries,
            "content_bytes": self.facts.content,
            "stored_bytes": self.facts.stored,
            "metadata_bytes": self.facts.metadata,
            "pipelines": rows.collect::<Vec<_>>(),
            "limit": {
                "inflate": part(|limit| limit.inflate),
                "inflate_zlib_rs": part(|limit| limit.inflate_zlib_rs),
                "sha256_compressed": part(|limit| limit.hash_compressed),
                "sha256_inflated": part(|limit| limit.hash_inflated),
                "write": part(|limit| limit.write),
                "seconds": part(Limit::seconds),
                "seconds_verified": part(Limit::seconds_verified),
            },
            "layout_against_limit": self.against_limit(Limit::seconds),
            "layout_against_limit_verified": self.against_limit(Limit::seconds_verified),
            "registry_against_skopeo": self.compare(Pipeline::Registry, Pipeline::Skopeo),
        })
    }
}

/// What a pipeline took.
#[derive(Clone, Copy, Debug)]
struct Row {
    pipeline: Pipeline,
    seconds: Spread,
    peak_mebibytes: Spread,
    disk: Option<Disk>,
}

impl Row {
    fn of(pipeline: Pipeline, samples: impl Iterator<Item = Sample> + Clone) -> Option<Self> {
        let mebibytes = |sample: Sample| float(sample.peak_kibibytes) / 1024.0;
        Some(Self {
            pipeline,
            seconds: Spread::of(samples.clone().map(|sample| sample.seconds))?,
            peak_mebibytes: Spread::of(samples.clone().map(mebibytes))?,
            disk: samples.last()?.disk,
        })
    }

    /// Bytes written against what the disk holds, content in whole blocks.
    fn written(&self) -> Option<f64> {
        let disk = self.disk?;
        ratio(float(disk.written), float(disk.stored + disk.metadata))
    }

    fn line(&self, against: Option<f64>) -> String {
        columns(&[
            self.pipeline.name(),
            &self.seconds.to_string(),
            &times(against),
            &format!("{:.0}", self.peak_mebibytes.most),
            &times(self.written()),
        ])
    }

    fn json(&self, against: Option<f64>) -> Value {
        json!({
            "pipeline": self.pipeline.name(),
            "seconds": self.seconds.json(),
            "against_layout": against,
            "peak_mebibytes": self.peak_mebibytes.json(),
            "written_bytes": self.disk.map(|disk| disk.written),
            "written_against_disk": self.written(),
        })
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
    columns(&["pipeline", "seconds", "layout = 1", "peak MiB", "written"])
}

fn columns(cells: &[&str; 5]) -> String {
    let [name, seconds, against, peak, written] = cells;
    format!("  {name:<10}{seconds:>22}{against:>12}{peak:>10}{written:>9}")
}

fn times(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}x"))
}

#[expect(clippy::cast_precision_loss, reason = "sizes of images are below 2^52")]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod checks {
    use super::*;

    fn sample(seconds: f64) -> Sample {
        Sample {
            seconds,
            peak_kibibytes: 2048,
            disk: Some(Disk {
                entries: 1,
                content: 70,
                stored: 80,
                metadata: 20,
                written: 110,
            }),
        }
    }

    #[test]
    fn a_row_has_median_range_ratio_memory_and_bytes() {
        let samples = [3.0, 1.0, 2.0].map(sample);
        let row = Row::of(Pipeline::Layout, samples.into_iter()).unwrap();
        let line = row.line(Some(1.0));
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(
            words,
            ["layout", "2.00", "(1.00..3.00)", "1.00x", "2", "1.10x"]
        );
        assert_eq!(line.len(), header().len());
    }

    #[test]
    fn a_pipeline_that_did_not_run_has_no_row() {
        assert!(Row::of(Pipeline::Tar, std::iter::empty()).is_none());
    }
}

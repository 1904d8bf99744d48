//! What the server counts, for Prometheus.
//!
//! Purpose: calls by method and code, how long they took, how many go on; machines and
//! operations by state. Invariants: every series there can be is known when the server
//! starts, but for kinds and states of records: nothing that a client chooses is a
//! label. Counting takes no lock. Entry points: `Metrics`, [`Meter`].

mod listener;

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tonic::Code;

use crate::{
    access::methods::{Method, Methods},
    backend::Front,
};

pub use listener::{MetricsError, MetricsListener};

/// The codes of gRPC, by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Upper bounds of how long calls took, in milliseconds, and as Prometheus writes them.
const BOUNDS: [(u64, &str); 7] = [
    (5, "0.005"),
    (25, "0.025"),
    (100, "0.1"),
    (500, "0.5"),
    (2500, "2.5"),
    (10_000, "10"),
    (60_000, "60"),
];

/// What is counted of calls.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// One for each method, and one for all that are none.
    methods: Vec<Counts>,
}

#[derive(Debug)]
struct Counts {
    labels: String,
    codes: [AtomicU64; CODES.len()],
    /// Calls that took no longer than each bound and longer than the one before.
    buckets: [AtomicU64; BOUNDS.len()],
    microseconds: AtomicU64,
    in_flight: AtomicU64,
}

impl Counts {
    fn new(service: &str, method: &str) -> Self {
        Self {
            labels: format!("grpc_service=\"{service}\",grpc_method=\"{method}\""),
            codes: Default::default(),
            buckets: Default::default(),
            microseconds: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
        }
    }
}

impl Metrics {
    pub(crate) fn new(methods: &Methods) -> Self {
        let known = methods.all().into_iter();
        let known = known.map(|one| Counts::new(&one.service, &one.name));
        let unknown = Counts::new("unknown", "unknown");
        Self {
            methods: known.chain([unknown]).collect(),
        }
    }

    /// A call of that method begins. Answers which it is.
    pub(crate) fn begin(&self, method: Option<&Method>) -> usize {
        let index = method.map_or(self.methods.len() - 1, |method| method.index);
        add(&self.methods[index].in_flight, 1);
        index
    }

    /// A call that began with that index ended.
    pub(crate) fn end(&self, index: usize, code: Code, took: Duration) {
        let counts = &self.methods[index];
        counts.in_flight.fetch_sub(1, Ordering::Relaxed);
        // gRPC has no others
        if let Some(count) = usize::try_from(i32::from(code))
            .ok()
            .and_then(|number| counts.codes.get(number))
        {
            add(count, 1);
        }
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        add(&counts.microseconds, microseconds);
        let fits = |(bound, _): &(u64, &str)| microseconds <= bound * 1000;
        if let Some(bucket) = BOUNDS.iter().position(fits) {
            add(&counts.buckets[bucket], 1);
        }
    }

    fn write(&self, text: &mut String) {
        family(text, "banger_rpcs_total", "counter", "Calls that ended.");
        for one in self.used() {
            for (code, count) in CODES.iter().zip(&one.codes) {
                let count = read(count);
                if count != 0 {
                    let labels = format!("{},grpc_code=\"{code}\"", one.labels);
                    sample(text, "banger_rpcs_total", &labels, count);
                }
            }
        }
        let name = "banger_rpc_duration_seconds";
        family(text, name, "histogram", "How long calls took.");
        for one in self.used() {
            one.write_durations(text, name);
        }
        let name = "banger_rpcs_in_flight";
        family(text, name, "gauge", "Calls that go on.");
        for one in self.used() {
            sample(text, name, &one.labels, read(&one.in_flight));
        }
    }

    /// Methods that were ever called.
    fn used(&self) -> impl Iterator<Item = &Counts> {
        let was_used = |one: &&Counts| read(&one.in_flight) != 0 || one.ended() != 0;
        self.methods.iter().filter(was_used)
    }
}

impl Counts {
    fn ended(&self) -> u64 {
        self.codes.iter().map(read).sum()
    }

    fn write_durations(&self, text: &mut String, name: &str) {
        let (labels, mut below) = (&self.labels, 0);
        let buckets = format!("{name}_bucket");
        for ((_, bound), count) in BOUNDS.iter().zip(&self.buckets) {
            below += read(count);
            sample(text, &buckets, &format!("{labels},le=\"{bound}\""), below);
        }
        let all = self.ended();
        sample(text, &buckets, &format!("{labels},le=\"+Inf\""), all);
        let microseconds = read(&self.microseconds);
        let (whole, rest) = (microseconds / 1_000_000, microseconds % 1_000_000);
        sample(
            text,
            &format!("{name}_sum"),
            labels,
            format!("{whole}.{rest:06}"),
        );
        sample(text, &format!("{name}_count"), labels, all);
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    // writing to a string cannot fail
    let _written = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn sample(text: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    // writing to a string cannot fail
    let _written = writeln!(text, "{name}{{{labels}}} {value}");
}

/// Reads what a server counts.
#[derive(Clone, Debug)]
pub struct Meter {
    metrics: Arc<Metrics>,
    front: Front,
}

impl Meter {
    pub(crate) const fn new(metrics: Arc<Metrics>, front: Front) -> Self {
        Self { metrics, front }
    }

    /// Everything, in Prometheus' text format.
    pub async fn text(&self) -> String {
        let mut text = String::new();
        family(
            &mut text,
            "banger_build_info",
            "gauge",
            "What this server is.",
        );
        let version = concat!("version=\"", env!("CARGO_PKG_VERSION"), "\"");
        sample(&mut text, "banger_build_info", version, 1);
        self.metrics.write(&mut text);
        if let Some(hub) = self.front.hub.get() {
            let store = &hub.backend.store;
            // what cannot be counted now is left out: the rest still says something
            let vms = store.count_vms().await.unwrap_or_default();
            family(&mut text, "banger_vms", "gauge", "Virtual machines.");
            for (state, count) in vms {
                let labels = format!("state=\"{state}\"");
                sample(&mut text, "banger_vms", &labels, count);
            }
            let operations = store.count_operations().await.unwrap_or_default();
            let name = "banger_operations";
            family(&mut text, name, "gauge", "Operations that are remembered.");
            for (kind, state, count) in operations {
                let labels = format!("kind=\"{kind}\",state=\"{state}\"");
                sample(&mut text, name, &labels, count);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_method_and_code_and_how_long_they_took() {
        let methods = Methods::of_the_api();
        let metrics = Metrics::new(&methods);
        let method = methods.find("/banger.v1.VmService/GetVm");
        let index = metrics.begin(method);
        metrics.end(index, Code::NotFound, Duration::from_millis(30));
        let index = metrics.begin(method);
        metrics.end(index, Code::Ok, Duration::from_mins(2));
        metrics.begin(method);
        metrics.begin(None);
        let mut text = String::new();
        metrics.write(&mut text);
        let labels = "grpc_service=\"banger.v1.VmService\",grpc_method=\"GetVm\"";
        for line in [
            format!("banger_rpcs_total{{{labels},grpc_code=\"OK\"}} 1"),
            format!("banger_rpcs_total{{{labels},grpc_code=\"NOT_FOUND\"}} 1"),
            format!("banger_rpc_duration_seconds_bucket{{{labels},le=\"0.025\"}} 0"),
            format!("banger_rpc_duration_seconds_bucket{{{labels},le=\"60\"}} 1"),
            format!("banger_rpc_duration_seconds_bucket{{{labels},le=\"+Inf\"}} 2"),
            format!("banger_rpc_duration_seconds_sum{{{labels}}} 120.030000"),
            format!("banger_rpcs_in_flight{{{labels}}} 1"),
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
        assert!(text.contains("grpc_service=\"unknown\""), "{text}");
        assert!(!text.contains("StopVm"), "{text}");
    }

    #[test]
    fn codes_have_their_names() {
        for (number, name) in (0..).zip(CODES) {
            let debug = format!("{:?}", Code::from(number)).to_uppercase();
            assert_eq!(debug, name.replace('_', ""));
        }
    }
}

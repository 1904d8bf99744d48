//! Programs that are called, and what every process has.

use std::time::{Duration, SystemTime};

use banger_proto::{GUEST_GENERATION, OLDEST_GUEST_GENERATION};

use super::{failed, ok, skipped, warning};
use crate::diagnostics::{Answer, Check, GuestFacts, ToolFacts};

/// Fewer open files than that do not do for an image of many layers, or for a
/// service with some clients.
const FILES_WANTED: u64 = 1024;
/// 2026-01-01: no clock of a host that runs this is right and before.
const EARLIEST: Duration = Duration::from_hours(490_896);

pub(super) fn guest(facts: &GuestFacts) -> Check {
    let id = "guest-program";
    let path = &facts.path;
    let get = "install banger-guest of this banger's version at ../lib/banger beside banger's \
               directory, or name it with --guest-program or BANGER_GUEST_PROGRAM";
    match facts.generation {
        Ok(generation) if generation < OLDEST_GUEST_GENERATION => failed(
            id,
            format!(
                "{path} speaks generation {generation} of the guest protocol, and \
                 {OLDEST_GUEST_GENERATION} is the oldest that is understood"
            ),
            get,
        ),
        Ok(generation) if generation != GUEST_GENERATION => warning(
            id,
            format!(
                "{path} speaks generation {generation} of the guest protocol, and this banger \
                 {GUEST_GENERATION}"
            ),
            get,
        ),
        Ok(generation) => ok(
            id,
            format!("{path} speaks generation {generation} of the guest protocol"),
        ),
        Err(ref problem) => failed(id, format!("{path} cannot be used: {problem}"), get),
    }
}

pub(super) fn tools(facts: &ToolFacts) -> Vec<Check> {
    vec![e2fsprogs(facts), apt(facts), container_builder(facts)]
}

fn e2fsprogs(facts: &ToolFacts) -> Check {
    let id = "e2fsprogs";
    let problem = |name: &str, facts: &Option<Answer<String>>| match facts {
        Some(Ok(_)) => None,
        Some(Err(problem)) => Some(problem.clone()),
        None => Some(format!("{name} was not found")),
    };
    let problems = [
        problem("e2fsck", &facts.e2fsck),
        problem("resize2fs", &facts.resize2fs),
    ];
    let problems: Vec<String> = problems.into_iter().flatten().collect();
    if problems.is_empty() {
        return ok(id, "e2fsck and resize2fs are there");
    }
    warning(
        id,
        format!(
            "{}: images cannot be built, and disks cannot be resized",
            problems.join("; ")
        ),
        "install e2fsprogs (Debian package e2fsprogs)",
    )
}

/// Hosts of other distributions have no apt, and nothing is wrong with that.
fn apt(facts: &ToolFacts) -> Check {
    let id = "apt";
    match &facts.apt {
        Some(Ok(version)) => ok(id, version),
        Some(Err(problem)) => warning(
            id,
            format!("kernels of Debian packages cannot be had: {problem}"),
            "repair apt-get, or import a kernel from a file or a bundle",
        ),
        None => skipped(
            id,
            "apt-get was not found: kernels come from files and bundles, not from apt:",
        ),
    }
}

fn container_builder(facts: &ToolFacts) -> Check {
    let id = "container-builder";
    match facts.container_builders.as_slice() {
        [] => skipped(
            id,
            "neither buildah nor podman nor docker was found: `image build` takes no Containerfile",
        ),
        found => ok(id, format!("found {}", found.join(", "))),
    }
}

pub(super) fn open_files(limit: Option<u64>) -> Check {
    let id = "open-files";
    match limit {
        Some(limit) if limit < FILES_WANTED => warning(
            id,
            format!("this process may have {limit} files open"),
            format!("raise the limit to {FILES_WANTED} at least (ulimit -n, LimitNOFILE=)"),
        ),
        Some(limit) => ok(id, format!("this process may have {limit} files open")),
        None => ok(id, "open files have no limit"),
    }
}

/// Certificates of registries are compared with it, and records are dated by it.
pub(super) fn clock(now: SystemTime) -> Check {
    let id = "clock";
    if SystemTime::UNIX_EPOCH + EARLIEST <= now {
        return ok(id, "it is later than this banger");
    }
    failed(
        id,
        "it is before 2026: no certificate of a registry counts",
        "set the clock, and have it kept by NTP",
    )
}

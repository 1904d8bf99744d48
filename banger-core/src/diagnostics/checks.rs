//! What follows from what is known of a host. Pure.
//!
//! Invariants: what fails is what nothing works without, or what was asked for and
//! cannot be had; what banger does without is a warning that says what is lost; a
//! part that matters for nothing here is skipped. Entry points: [`judge`].

mod backends;
mod places;
mod programs;

use super::{Check, CheckStatus, Facts};

/// What follows from the facts, in an order that stays.
#[must_use]
pub fn judge(facts: &Facts) -> Vec<Check> {
    let mut checks = vec![
        backends::kvm(facts),
        backends::backend(facts),
        backends::qemu(facts),
        backends::firecracker(facts),
        backends::jail(facts),
        backends::slirp4netns(facts),
        backends::namespaces(facts),
        programs::guest(&facts.guest),
    ];
    checks.extend(places::checks(&facts.directories));
    checks.push(places::database(&facts.database));
    checks.extend(programs::tools(&facts.tools));
    checks.push(programs::open_files(facts.open_files));
    checks.push(programs::clock(facts.now));
    checks
}

const fn check(
    id: &'static str,
    status: CheckStatus,
    found: String,
    advice: Option<String>,
) -> Check {
    Check {
        id: std::borrow::Cow::Borrowed(id),
        status,
        found,
        advice,
    }
}

fn ok(id: &'static str, found: impl Into<String>) -> Check {
    check(id, CheckStatus::Ok, found.into(), None)
}

fn warning(id: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Check {
    let advice = Some(advice.into());
    check(id, CheckStatus::Warning, found.into(), advice)
}

fn failed(id: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Check {
    let advice = Some(advice.into());
    check(id, CheckStatus::Failed, found.into(), advice)
}

fn skipped(id: &'static str, found: impl Into<String>) -> Check {
    check(id, CheckStatus::Skipped, found.into(), None)
}

#[cfg(test)]
mod tests;

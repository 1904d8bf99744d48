//! The part of the test runner's protocol that `cargo test` and nextest use.

use std::{panic::catch_unwind, process::ExitCode};

pub(crate) type Test = (&'static str, fn());

pub(crate) fn run(tests: &[Test], arguments: &[String]) -> ExitCode {
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    // no test is ever ignored
    let tests: &[Test] = if has("--ignored") { &[] } else { tests };
    if has("--list") {
        for (name, _) in tests {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let is_wanted = |name: &str| {
        filters.is_empty()
            || filters.iter().any(|filter| {
                if has("--exact") {
                    name == *filter
                } else {
                    name.contains(filter.as_str())
                }
            })
    };
    let mut failed = 0;
    for (name, test) in tests.iter().filter(|(name, _)| is_wanted(name)) {
        let passed = catch_unwind(test).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(101)
    }
}

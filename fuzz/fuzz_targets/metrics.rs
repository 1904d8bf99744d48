//! A line of what a VMM counted.
#![no_main]

use banger_core::vmm::fuzzing::metrics;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    if let Some(counted) = metrics(line) {
        // sums hold at least what they are of
        let text = String::from_utf8_lossy(line);
        assert!(counted.exits.is_none() || text.contains("vcpu") || text.contains('\\'));
        assert!(counted.refused_requests.is_none() || text.contains("_fails") || text.contains('\\'));
    }
});

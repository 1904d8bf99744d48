//! What Firecracker's API sends back.
#![no_main]

use banger_core::vmm::fuzzing::answer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|received: &[u8]| {
    let whole = answer(received);
    if let Ok(Some((_, body, length))) = whole {
        assert!(body <= 64 * 1024 && body < length && length <= received.len());
        // what follows does not matter, what is missing does
        assert_eq!(answer(&received[..length]), whole);
        assert_eq!(answer(&received[..length - 1]), Ok(None));
    }
});

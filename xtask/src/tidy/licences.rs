//! What we link may be linked: every crate's licence is one of a short list.

use std::collections::BTreeSet;

use crate::{Result, run::capture, tests::cargo};

/// What is built; crates for other systems are not even downloaded.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Licences that ask for no more than their notice.
const ACCEPTED: [&str; 11] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    // the root certificates that the TLS stack trusts, which are data
    "CDLA-Permissive-2.0",
];

/// Crates whose licence has a name of its own but the same terms.
const SAME_TERMS: [&str; 1] = ["bzip2-1.0.6"];

pub(super) fn problems() -> Result<Vec<String>> {
    let metadata = capture(cargo().args([
        "metadata",
        "--format-version=1",
        "--locked",
        "--filter-platform",
        TARGET,
    ]))?;
    let metadata: serde_json::Value =
        serde_json::from_str(&metadata).map_err(|error| error.to_string())?;
    let packages = metadata["packages"]
        .as_array()
        .ok_or("cargo metadata lists no packages")?;
    let refused = packages.iter().filter_map(|package| {
        let licence = package["license"].as_str().unwrap_or("none");
        (!is_accepted(licence)).then(|| format!("crate {} has licence {licence}", package["name"]))
    });
    Ok(refused.collect::<BTreeSet<_>>().into_iter().collect())
}

/// Whether some choice of an SPDX expression is accepted; `/` is an old `OR`.
fn is_accepted(expression: &str) -> bool {
    let plain = expression
        .replace(['(', ')'], " ")
        .replace('/', " OR ")
        .replace(" WITH LLVM-exception", "");
    plain.split(" AND ").all(|group| {
        group.split(" OR ").any(|licence| {
            let licence = licence.trim();
            ACCEPTED.contains(&licence) || SAME_TERMS.contains(&licence)
        })
    })
}

#[cfg(test)]
mod checks {
    use super::is_accepted;

    #[test]
    fn a_choice_is_enough_and_a_conjunction_needs_all() {
        assert!(is_accepted("MIT OR GPL-3.0"));
        assert!(is_accepted("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(is_accepted("MIT/Apache-2.0"));
        assert!(!is_accepted("MIT AND GPL-3.0"));
        assert!(!is_accepted("none"));
    }
}

//! Every stream of the API goes on where it was cut, or is known not to.

use std::collections::BTreeSet;

use super::fuzz::methods;

/// The tests that cut streams after every frame.
const CUT: &str = include_str!("../../bangerd/tests/service/cut.rs");
const BUNDLES: &str = include_str!("../../bangerd/tests/service/bundles.rs");
const EVERYWHERE: &str = include_str!("../../bangerd/tests/service/everywhere.rs");
const GUESTS: &str = include_str!("../../bangerd/tests/service/guests.rs");
const UPLOADS: &str = include_str!("../../bangerd/tests/service/uploads.rs");

/// Which of them cuts which method's stream.
const COVERED: [(&str, &str, &str); 13] = [
    (
        "AttachExec",
        CUT,
        "a_command_is_the_same_wherever_its_connection_is_cut",
    ),
    (
        "DiffImages",
        EVERYWHERE,
        "disks_of_images_are_the_same_wherever_their_streams_are_cut",
    ),
    (
        "ListAvailableImages",
        EVERYWHERE,
        "catalogs_are_the_same_wherever_their_streams_are_cut",
    ),
    (
        "ListAvailableKernels",
        EVERYWHERE,
        "catalogs_are_the_same_wherever_their_streams_are_cut",
    ),
    (
        "ListImageFiles",
        EVERYWHERE,
        "disks_of_images_are_the_same_wherever_their_streams_are_cut",
    ),
    (
        "ReadFiles",
        GUESTS,
        "files_of_machines_are_the_same_wherever_their_streams_are_cut",
    ),
    (
        "ReadImageFile",
        EVERYWHERE,
        "disks_of_images_are_the_same_wherever_their_streams_are_cut",
    ),
    (
        "ReadVmLog",
        GUESTS,
        "logs_of_machines_are_the_same_wherever_their_streams_are_cut",
    ),
    (
        "SaveImage",
        EVERYWHERE,
        "archives_of_images_are_the_same_wherever_their_streams_are_cut",
    ),
    (
        "SaveKernel",
        BUNDLES,
        "bundles_are_the_same_wherever_their_streams_are_cut",
    ),
    (
        "WatchOperation",
        EVERYWHERE,
        "what_happens_is_told_once_wherever_watches_are_cut",
    ),
    (
        "WatchVms",
        EVERYWHERE,
        "what_happens_is_told_once_wherever_watches_are_cut",
    ),
    (
        "WriteUpload",
        UPLOADS,
        "a_file_is_whole_wherever_its_connection_is_cut",
    ),
];

/// What is begun again as a whole by whoever has what is sent, and the test that cuts it.
const AGAIN: [(&str, &str, &str); 1] = [(
    "WriteFiles",
    GUESTS,
    "files_of_machines_are_the_same_wherever_their_streams_are_cut",
)];

/// What does not go on, and why.
const ENDING: [(&str, &str); 1] = [(
    "ConnectPort",
    "it is a TCP connection, and nothing in the guest's TCP resumes one",
)];

#[test]
fn every_stream_is_cut_by_a_test_or_is_known_to_end() {
    let streams = methods().into_iter();
    let streams = streams.filter(|one| one.is_client_streaming() || one.is_server_streaming());
    let streams: BTreeSet<String> = streams.map(|one| one.name().to_owned()).collect();
    let covered = COVERED.iter().chain(&AGAIN);
    let known = covered.clone().map(|(method, ..)| *method);
    let known: Vec<&str> = known.chain(ENDING.map(|(method, _)| method)).collect();
    let named: BTreeSet<String> = known.iter().map(|one| (*one).to_owned()).collect();
    assert_eq!(named, streams);
    assert_eq!(named.len(), known.len(), "a method is named twice");
    for (method, file, test) in covered {
        let (_, body) = file
            .split_once(&format!("async fn {test}()"))
            .unwrap_or_else(|| panic!("{method} has no test {test}"));
        let body = body.split("#[tokio::test").next().unwrap();
        // one that cuts nothing else, or one that says whose stream it cuts
        let cuts = ["cutter.cut(1, frames)", &format!("\"{method}")];
        let is_cut = cuts.iter().any(|way| body.contains(way));
        assert!(is_cut, "{test} does not cut {method}");
    }
}

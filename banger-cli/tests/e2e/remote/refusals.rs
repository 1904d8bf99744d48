//! What is refused over a service, and services that are none.

use super::Twins;

#[test]
fn what_a_service_does_not_do_is_said_so() {
    let twins = Twins::start();
    let reference = twins.remote.layout("busybox", "latest");
    let pull = ["image", "pull", &reference, "--name", "y"];
    twins.refused(
        &[&pull[..], &["--kernel-path", "/nowhere"]].concat(),
        "the service has no kernels by path yet",
    );
    // nobody is there
    let socket = twins.remote.root.join("nobody.sock");
    let endpoint = format!("unix://{socket}");
    let nobody = twins
        .remote
        .refused(&["--endpoint", &endpoint, "vm", "list"], 6);
    assert!(nobody.contains("cannot be reached"), "{nobody}");
    assert!(nobody.contains("hint: start it: `bangerd`"), "{nobody}");
    let wrong = twins
        .remote
        .refused(&["--endpoint", "http://h:1", "vm", "list"], 2);
    assert!(wrong.contains("is not unix:///SOCKET"), "{wrong}");
    // and the host itself works on
    twins.remote.must(&["--endpoint", "local", "vm", "list"]);
}

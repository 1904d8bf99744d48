//! Machines that are kept as they run, with a service and without one.

use super::{Environment, Twins, shown};

const BEFORE: &str = "
    0 same -q vm create small --name one
    0 same vm start one
    0 same vm exec --detach --id going-on one -- sleep 1000";
const AFTER: &str = "
    0 same --json vm show one
    0 same --json vm show two
    4 both vm start two
    0 same vm kill one
    0 same vm kill two
    0 same vm delete one
    0 same vm delete two";
const END: &str = "
    0 both snapshot list
    0 same image delete small";

impl Twins {
    /// Runs both, each with what its own state has in place of ID, which show the same.
    fn of_each(&self, ids: &[String; 2], arguments: &[&str], status: i32) {
        let of = |id| -> Vec<&str> {
            let words = arguments.iter();
            words
                .map(|word| if *word == "ID" { id } else { *word })
                .collect()
        };
        let embedded = self.embedded.run(&of(ids[0].as_str()));
        let remote = self.remote(&of(ids[1].as_str()));
        let embedded = shown(&embedded, &self.embedded);
        let remote = shown(&remote, &self.remote);
        assert_eq!(embedded, remote, "banger {arguments:?}");
        assert_eq!(remote.status, Some(status), "{remote:?}");
    }
}

/// The one snapshot that there is.
fn snapshot(environment: &Environment) -> String {
    let listed = environment.must(&["--json", "snapshot", "list"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    listed[0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_running_machine_is_kept_and_gone_on_from_with_a_service() {
    let twins = Twins::with_image();
    twins.play(BEFORE, &[]);
    let script = "echo kept > /file";
    twins.same(&["vm", "exec", "one", "--", "sh", "-c", script], 0);
    twins.same(&["--json", "vm", "snapshot", "one"], 0);
    let ids = [snapshot(&twins.embedded), snapshot(&twins.remote)];
    // what the machine does after that is not in it
    let script = "echo changed > /file";
    twins.same(&["vm", "exec", "one", "--", "sh", "-c", script], 0);
    twins.of_each(&ids, &["--json", "snapshot", "show", "ID"], 0);
    twins.same(&["--json", "snapshot", "list"], 0);
    twins.of_each(&ids, &["vm", "restore", "ID", "--name", "two"], 0);
    twins.of_each(&ids, &["vm", "restore", "ID", "--name", "two"], 4);
    let said = twins.same(&["vm", "exec", "two", "--", "cat", "/file"], 0);
    assert_eq!(said.stdout, "kept\n");
    // what ran goes on
    let said = twins.same(&["--json", "vm", "execs", "two"], 0);
    assert!(said.stdout.contains("going-on"), "{said:?}");
    let said = twins.same(&["vm", "exec", "one", "--", "cat", "/file"], 0);
    assert_eq!(said.stdout, "changed\n");
    twins.play(AFTER, &[]);
    twins.of_each(&ids, &["snapshot", "delete", "ID"], 0);
    twins.of_each(&ids, &["snapshot", "delete", "ID"], 3);
    twins.play(END, &[]);
    twins.agree();
}

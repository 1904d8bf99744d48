//! What is found of the host, and what the exit status says of it.

use std::borrow::Cow;

use banger_core::diagnostics::{Check, CheckStatus};

use super::*;

fn world(status: CheckStatus) -> Arc<World> {
    let world = World::default();
    *world.checks.lock().unwrap() = vec![Check {
        id: Cow::Borrowed("kvm"),
        status,
        found: "something".to_owned(),
        advice: Some("do this".to_owned()),
    }];
    Arc::new(world)
}

#[tokio::test]
async fn only_what_failed_is_told_by_the_exit_status() {
    for (status, expected) in [
        (CheckStatus::Ok, 0),
        (CheckStatus::Warning, 0),
        (CheckStatus::Skipped, 0),
        (CheckStatus::Failed, 9),
    ] {
        let world = world(status);
        let outcome = banger(&world, "banger doctor").await;
        assert_eq!(outcome.status(), expected, "{status}");
        assert!(outcome.stdout.contains("hint: kvm: do this\n"));
        assert_eq!(outcome.stderr, "");
        assert_eq!(world.calls(), ["diagnose"]);
        let outcome = banger(&world, "banger doctor --json").await;
        assert_eq!(outcome.status(), expected, "{status}");
        let told: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(told[0]["status"], status.as_str());
    }
}

//! What was found of a host.

use banger_core::diagnostics::Check;
use serde::Serialize;

use super::table;
use crate::error::one_line;

/// A check, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckOutput {
    id: String,
    status: &'static str,
    found: String,
    hint: Option<String>,
}

impl From<&Check> for CheckOutput {
    fn from(check: &Check) -> Self {
        Self {
            id: check.id.to_string(),
            status: check.status.as_str(),
            found: check.found.clone(),
            hint: check.advice.clone(),
        }
    }
}

/// Checks for people; what is to be done comes after the table.
#[must_use]
pub fn check_lines(checks: &[Check]) -> String {
    let row = |check: &Check| {
        vec![
            check.id.to_string(),
            check.status.as_str().to_owned(),
            check.found.clone(),
        ]
    };
    let head = ["CHECK", "STATUS", "FOUND"];
    let rows: Vec<_> = checks.iter().map(row).collect();
    let hints = checks.iter().filter_map(|check| {
        let advice = one_line(check.advice.as_ref()?);
        Some(format!("hint: {}: {advice}\n", one_line(&check.id)))
    });
    let hints: String = hints.collect();
    let gap = if hints.is_empty() { "" } else { "\n" };
    format!("{}{gap}{hints}", table(&head, &rows))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use banger_core::diagnostics::CheckStatus;

    use super::*;

    fn check(id: &'static str, status: CheckStatus, advice: Option<&str>) -> Check {
        Check {
            id: Cow::Borrowed(id),
            status,
            found: "found\u{1b}[1m".to_owned(),
            advice: advice.map(str::to_owned),
        }
    }

    #[test]
    fn hints_follow_the_table_and_nothing_moves_the_cursor() {
        let good = check("clock", CheckStatus::Ok, None);
        let bad = check("database", CheckStatus::Failed, Some("do\nthis"));
        assert_eq!(
            check_lines(&[good.clone(), bad.clone()]),
            "CHECK     STATUS  FOUND\n\
             clock     ok      found [1m\n\
             database  failed  found [1m\n\
             \n\
             hint: database: do this\n"
        );
        assert!(!check_lines(std::slice::from_ref(&good)).contains("hint"));
        let json = serde_json::to_value([CheckOutput::from(&good), CheckOutput::from(&bad)]);
        let json = json.unwrap();
        assert_eq!(json[0]["hint"], serde_json::Value::Null);
        assert_eq!(json[1]["status"], "failed");
    }
}

//! The order of a module's imports: the standard library, other crates, then
//! the crate itself. (rustfmt sorts only within what blank lines divide.)

use super::Tracked;

/// Where an import comes from, in the order of the house.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    Standard,
    Foreign,
    Own,
}

pub(super) fn problems(file: &Tracked) -> Vec<String> {
    let modules = modules(&file.text);
    let mut problems = Vec::new();
    let mut last = Origin::Standard;
    for (index, line) in file.text.lines().enumerate() {
        // what is exported, or after the first item, follows its own order
        if starts_item(line) {
            break;
        }
        let Some(import) = line.strip_prefix("use ") else {
            continue;
        };
        let origin = origin(import, &modules);
        if origin < last {
            problems.push(format!(
                "{}:{}: `{line}` stands after imports of the next group",
                file.path,
                index + 1
            ));
        }
        last = last.max(origin);
    }
    problems
}

/// Modules that the file declares: a path may start with one.
fn modules(text: &str) -> Vec<&str> {
    let declared = text.lines().filter_map(|line| {
        let (_, name) = line.split_once("mod ")?;
        name.strip_suffix(';')
    });
    declared.collect()
}

fn origin(import: &str, modules: &[&str]) -> Origin {
    let first = import
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .find(|segment| !segment.is_empty());
    match first {
        Some("std" | "core" | "alloc") => Origin::Standard,
        Some("crate" | "super" | "self") => Origin::Own,
        Some(name) if modules.contains(&name) => Origin::Own,
        _ => Origin::Foreign,
    }
}

/// Whether a line at the left margin starts an item that is neither a module
/// declaration nor an import.
fn starts_item(line: &str) -> bool {
    const ITEMS: [&str; 11] = [
        "fn ",
        "struct ",
        "enum ",
        "trait ",
        "impl",
        "const ",
        "static ",
        "type ",
        "union ",
        "macro_rules",
        "async ",
    ];
    let item = match line.strip_prefix("pub") {
        Some(rest) => rest.split_once(' ').map_or("", |(_, item)| item),
        None => line,
    };
    ITEMS.iter().any(|start| item.starts_with(start))
        || (item.starts_with("mod ") && item.ends_with('{'))
}

#[cfg(test)]
mod checks {
    use super::*;

    fn found(text: &str) -> usize {
        let file = Tracked {
            path: "a.rs".to_owned(),
            text: text.to_owned(),
        };
        problems(&file).len()
    }

    #[test]
    fn groups_in_order_are_fine() {
        assert_eq!(
            found(
                "mod local;\n\nuse std::fs;\n\nuse camino::Utf8Path;\n\nuse super::a;\nuse local::b;\n\
                 pub use camino::c;\n\nfn f() {}\n\nuse std::io;\n"
            ),
            0
        );
    }

    #[test]
    fn a_group_after_its_successor_is_a_problem() {
        assert_eq!(found("use camino::Utf8Path;\nuse std::fs;\n"), 1);
        assert_eq!(
            found("use crate::{\n    a,\n};\n\nuse camino::b;\nuse std::c;\n"),
            2
        );
    }
}

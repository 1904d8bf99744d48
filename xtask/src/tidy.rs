//! The rules of the house that no lint knows.

mod functions;
mod imports;
mod licences;
mod migrations;
mod words;

use std::{fs, path::Path};

use crate::{
    Result,
    paths::workspace,
    run::{capture, command, say},
};

/// Most lines of a source file.
const MAX_FILE_LINES: usize = 600;

/// A file that git tracks.
struct Tracked {
    /// Relative to the workspace.
    path: String,
    text: String,
}

impl Tracked {
    fn is_rust(&self) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|end| end == "rs")
            && !self.path.contains("/generated/")
    }
}

/// Checks everything and reports every problem.
pub(crate) fn check() -> Result<()> {
    let files = tracked()?;
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        problems.extend(module_problems(file));
        problems.extend(imports::problems(file));
    }
    problems.extend(words::problems(&files));
    problems.extend(functions::problems(&files));
    problems.extend(migrations::problems(workspace()));
    problems.extend(licences::problems()?);
    if problems.is_empty() {
        return Ok(());
    }
    for problem in &problems {
        say(problem);
    }
    Err(format!("{} rules are broken", problems.len()))
}

fn tracked() -> Result<Vec<Tracked>> {
    let listed = capture(command("git", workspace()).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let read = |path: &str| {
        let text = fs::read_to_string(workspace().join(path)).ok()?;
        Some(Tracked {
            path: path.to_owned(),
            text,
        })
    };
    Ok(listed.lines().filter_map(read).collect())
}

fn module_problems(file: &Tracked) -> Vec<String> {
    let mut problems = Vec::new();
    if !file.text.starts_with("//!") {
        problems.push(format!(
            "{}: the module does not open with its purpose",
            file.path
        ));
    }
    let lines = file.text.lines().count();
    if MAX_FILE_LINES < lines {
        problems.push(format!(
            "{}: {lines} lines, more than {MAX_FILE_LINES}",
            file.path
        ));
    }
    problems
}

#[cfg(test)]
mod checks {
    #[test]
    fn the_house_is_tidy() {
        super::check().unwrap();
    }
}

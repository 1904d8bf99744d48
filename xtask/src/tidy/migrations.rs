//! A shipped migration is never edited: databases remember its checksum.

use std::{fs, path::Path};

use sha2::{Digest as _, Sha256};

/// The list beside the migrations: one line each, digest and file name.
const LIST: &str = "checksums.txt";

pub(super) fn problems(workspace: &Path) -> Vec<String> {
    let directory = workspace.join("migrations");
    let listed = fs::read_to_string(directory.join(LIST)).unwrap_or_default();
    let mut names: Vec<String> = fs::read_dir(&directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| Path::new(name).extension().is_some_and(|end| end == "sql"))
        .collect();
    names.sort();
    let lines: Vec<String> = names.iter().map(|name| line(&directory, name)).collect();
    let unlisted = lines
        .iter()
        .filter(|line| !listed.lines().any(|known| known == *line));
    let mut problems: Vec<String> = unlisted
        .map(|line| {
            format!("migrations/{LIST}: lacks `{line}`: a new file, or a shipped one was edited")
        })
        .collect();
    let gone = listed
        .lines()
        .filter(|known| !lines.iter().any(|line| line == known));
    problems.extend(gone.map(|known| format!("migrations/{LIST}: `{known}` stands for no file")));
    problems
}

fn line(directory: &Path, name: &str) -> String {
    let content = fs::read(directory.join(name)).unwrap_or_default();
    let digest = hex::encode(Sha256::digest(content));
    format!("{digest}  {name}")
}

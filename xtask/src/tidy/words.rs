//! Words and paths that have no place in the repository.

use super::Tracked;

/// Pieces of text, split here so that this file does not hold them itself.
const FORBIDDEN: [(&[&str], &str); 15] = [
    (&["TO", "DO"], "unfinished work"),
    (&["FIX", "ME"], "unfinished work"),
    (&[" XX", "X "], "unfinished work"),
    (&["XX", "X:"], "unfinished work"),
    (&["to", "do!("], "unfinished work"),
    (&["unimplem", "ented!("], "unfinished work"),
    (&["#[ig", "nore"], "a hidden test"),
    (&["/wo", "rk/"], "a path of a build machine"),
    (&["/fa", "rm/"], "a path of a build machine"),
    (&["deb", "ian.org"], "the host of a package registry"),
    (&["ubu", "ntu.com"], "the host of a package registry"),
    (&["crates", ".io/"], "the host of a package registry"),
    (&["index.crates", ".io"], "the host of a package registry"),
    (&["py", "pi.org"], "the host of a package registry"),
    (&["npm", "js.org"], "the host of a package registry"),
];

/// Files that others wrote.
const EXEMPT: [&str; 2] = ["Cargo.lock", "LICENSE-APACHE"];

pub(super) fn problems(files: &[Tracked]) -> Vec<String> {
    let ours = files
        .iter()
        .filter(|file| !EXEMPT.contains(&file.path.as_str()));
    ours.flat_map(file_problems).collect()
}

fn file_problems(file: &Tracked) -> Vec<String> {
    let lines = file.text.lines().enumerate();
    let found = |(index, line): (usize, &str)| {
        let (_, what) = FORBIDDEN
            .iter()
            .find(|(pieces, _)| line.contains(&pieces.concat()))?;
        Some(format!("{}:{}: {what}", file.path, index + 1))
    };
    lines.filter_map(found).collect()
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn every_forbidden_piece_is_found_with_its_line() {
        for (pieces, what) in FORBIDDEN {
            let file = Tracked {
                path: "a.rs".to_owned(),
                text: format!("//! a\n// b{}c\n", pieces.concat()),
            };
            let found = file_problems(&file);
            assert_eq!(found.len(), 1, "{pieces:?}: {found:?}");
            assert_eq!(found[0], format!("a.rs:2: {what}"));
        }
    }
}

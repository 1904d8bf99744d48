//! The host's own package sources, so that no host is named here.
//!
//! Only those of the distribution itself are used: others may need keys and
//! settings that an image lacks.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{Result, paths::failed_at};

/// The component that every release has.
const COMPONENT: &str = "main";

/// Sources of `release`, as mmdebstrap takes them: lines in the form of
/// sources.list(5), or paths of files in its deb822 form.
pub(super) fn of(release: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for path in files() {
        let text = fs::read_to_string(&path).map_err(failed_at(&path))?;
        found.extend(suited(&path, &text, release));
    }
    if found.is_empty() {
        return Err(format!("apt of this host has no source of {release}"));
    }
    Ok(found)
}

fn files() -> Vec<PathBuf> {
    let directory = fs::read_dir("/etc/apt/sources.list.d");
    let entries = directory.into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| is_deb822(path) || path.extension().is_some_and(|end| end == "list"))
        .collect();
    files.push(PathBuf::from("/etc/apt/sources.list"));
    files.retain(|path| path.exists());
    files.sort();
    files
}

fn is_deb822(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "sources")
}

fn suited(path: &Path, text: &str, release: &str) -> Vec<String> {
    if !is_deb822(path) {
        let lines = text.lines().map(str::trim);
        let suited = lines.filter(|line| is_suited_line(line, release));
        return suited.map(str::to_owned).collect();
    }
    let mut stanzas = text.split("\n\n");
    let is_suited = stanzas.any(|stanza| {
        has_word(stanza, "Suites:", release) && has_word(stanza, "Components:", COMPONENT)
    });
    let path = is_suited.then(|| path.to_string_lossy().into_owned());
    path.into_iter().collect()
}

/// `deb [options] uri suite component…`
fn is_suited_line(line: &str, release: &str) -> bool {
    let Some(rest) = line.strip_prefix("deb ") else {
        return false;
    };
    let rest = match rest.trim_start().strip_prefix('[') {
        Some(options) => options.split_once(']').map_or("", |(_, rest)| rest),
        None => rest,
    };
    let mut words = rest.split_whitespace().skip(1);
    let suite = words.next().unwrap_or_default();
    let is_of_release = ["", "-updates", "-security"]
        .iter()
        .any(|end| suite.strip_suffix(end) == Some(release));
    is_of_release && words.any(|word| word == COMPONENT)
}

fn has_word(stanza: &str, field: &str, word: &str) -> bool {
    stanza
        .lines()
        .filter_map(|line| line.strip_prefix(field))
        .any(|value| value.split_whitespace().any(|found| found == word))
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn lines_of_the_release_are_taken_and_others_left() {
        let text = "# deb http://a/ bookworm main\n\
                    deb http://a/ bookworm main contrib\n\
                    deb [arch=amd64 trusted=yes] http://a/ bookworm-security main\n\
                    deb-src http://a/ bookworm main\n\
                    deb http://b/ bookworm stable\n\
                    deb http://c/ cloud-bookworm main\n";
        assert_eq!(
            suited(Path::new("a.list"), text, "bookworm"),
            [
                "deb http://a/ bookworm main contrib",
                "deb [arch=amd64 trusted=yes] http://a/ bookworm-security main",
            ]
        );
    }

    #[test]
    fn a_deb822_file_is_taken_whole_when_a_stanza_fits() {
        let path = Path::new("a.sources");
        let fits =
            "Types: deb\nURIs: http://a/\nSuites: bookworm bookworm-updates\nComponents: main\n";
        assert_eq!(suited(path, fits, "bookworm"), ["a.sources"]);
        let other = fits.replace("bookworm", "nodistro");
        assert_eq!(suited(path, &other, "bookworm"), [""; 0]);
        let halves = "Suites: bookworm\n\nComponents: main\n";
        assert_eq!(suited(path, halves, "bookworm"), [""; 0]);
    }
}

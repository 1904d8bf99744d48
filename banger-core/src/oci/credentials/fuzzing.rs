//! The parser of files of credentials for `fuzz/`. Pure.

use super::auth_file::{AuthFileContent, Entry};

/// What a file has for a repository: whether a helper is asked, and whether
/// there is an entry with something in it. Or the problem, which people see.
pub fn auth_file(text: &[u8], registry: &str, repository: &str) -> Result<(bool, bool), String> {
    let content = AuthFileContent::parse(text)?;
    let place = content.find(registry, repository);
    let credential = place.entry.map(Entry::credential).transpose()?;
    let found = credential.flatten();
    Ok((
        place.helper.is_some(),
        found.is_some_and(|found| !found.is_anonymous()),
    ))
}

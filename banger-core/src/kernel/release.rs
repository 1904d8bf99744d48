//! Kernel releases (`uname -r`): their grammar, where kernels tell them, and
//! the names made from them.

use std::io::{self, Read};

use crate::domain::KernelName;

/// Linux, `__NEW_UTS_LEN`.
const MAX_LENGTH: usize = 64;
/// The banner of `/proc/version`, in every kernel image (`init/version.c`).
const BANNER: &[u8] = b"Linux version ";
const CHUNK_LENGTH: usize = 256 << 10;

/// Whether `text` can be a release: it is also a directory name below
/// `lib/modules`.
pub(crate) fn is_release(text: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+' | b'~');
    text.len() <= MAX_LENGTH
        && text
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_digit())
        && text.bytes().all(allowed)
}

/// The release a version text starts with, up to the first space or NUL.
pub(crate) fn leading_release(text: &[u8]) -> Option<String> {
    let end = text
        .iter()
        .position(|byte| matches!(byte, b' ' | 0 | b'\n'))?;
    let release = std::str::from_utf8(&text[..end]).ok()?;
    is_release(release).then(|| release.to_owned())
}

/// The release told by the first banner of a kernel image.
pub(crate) fn find_banner(mut image: impl Read) -> io::Result<Option<String>> {
    // what may be needed of one chunk with the next: a banner and its release
    let overlap = BANNER.len() + MAX_LENGTH + 1;
    let mut window = Vec::with_capacity(CHUNK_LENGTH + overlap);
    loop {
        let chunk = (&mut image).take(CHUNK_LENGTH as u64);
        let read = io::BufReader::new(chunk).read_to_end(&mut window)?;
        if let Some(release) = banner_in(&window) {
            return Ok(Some(release));
        }
        if read == 0 {
            return Ok(None);
        }
        window.drain(..window.len().saturating_sub(overlap));
    }
}

fn banner_in(window: &[u8]) -> Option<String> {
    let starts = window
        .windows(BANNER.len())
        .enumerate()
        .filter(|(_, bytes)| *bytes == BANNER);
    let mut releases =
        starts.filter_map(|(start, _)| leading_release(&window[start + BANNER.len()..]));
    releases.next()
}

/// The name a kernel gets when the user gives none: `linux-<release>`, with
/// what a name cannot have replaced by `-`.
pub(crate) fn default_name(release: &str) -> Option<KernelName> {
    let fold = |letter: char| match letter.to_ascii_lowercase() {
        letter @ ('a'..='z' | '0'..='9' | '.' | '_' | '-') => letter,
        _ => '-',
    };
    let folded: String = release.chars().map(fold).collect();
    format!("linux-{folded}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_told_from_paths_and_formats() {
        for text in [
            "6.1.0-48-cloud-amd64",
            "6.12.57+deb13-amd64",
            "5.10.0_rc1~x",
        ] {
            assert!(is_release(text), "{text:?}");
        }
        let long = "6".repeat(65);
        for text in ["", "..", ".6", "%s", "6/1", "6 1", "6\n", long.as_str()] {
            assert!(!is_release(text), "{text:?} was accepted");
        }
    }

    #[test]
    fn the_banner_is_found_across_chunks() {
        let banner = b"Linux version 6.1.0-48-cloud-amd64 (builder) #1 SMP\n";
        for start in [
            0,
            100,
            CHUNK_LENGTH - 20,
            CHUNK_LENGTH,
            3 * CHUNK_LENGTH - 5,
        ] {
            let mut image = vec![0; start];
            image.extend(banner);
            let found = find_banner(&image[..]).unwrap();
            assert_eq!(found.as_deref(), Some("6.1.0-48-cloud-amd64"), "{start}");
        }
        assert_eq!(find_banner(&b"Linux version %s (%s)"[..]).unwrap(), None);
        assert_eq!(find_banner(&b"Linux version 6.1"[..]).unwrap(), None);
    }

    #[test]
    fn default_names_keep_to_the_grammar() {
        let name = |release| default_name(release).map(|name| name.to_string());
        assert_eq!(
            name("6.12.57+deb13-AMD64").as_deref(),
            Some("linux-6.12.57-deb13-amd64")
        );
        assert_eq!(name(&"6".repeat(64)), None);
    }
}

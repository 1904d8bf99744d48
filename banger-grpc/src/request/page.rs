//! Pages of lists.
//!
//! Invariants: a page begins after a key and not at a number, so that what comes
//! and goes elsewhere moves nothing; a token is good for the query that it was got
//! with and no other. Entry points: [`Page`].

use prost::Message;
use sha2::{Digest as _, Sha256};

use super::Checks;

const DEFAULT_SIZE: usize = 100;
const MAX_SIZE: usize = 1000;
/// Most bytes of a page of more than one item: a client takes 4 MiB by default.
const MAX_BYTES: usize = 2 * 1024 * 1024;
/// Bytes of a token that name its query.
const QUERY: usize = 8;
/// Longest token that is looked at.
const MAX_TOKEN: usize = 1024;

/// Which part of a list is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// Most items.
    pub(crate) size: usize,
    /// The key of the last item of the page before.
    pub(crate) after: Option<String>,
    query: [u8; QUERY],
}

impl Page {
    /// Reads what a request says; `query` is everything of it that chooses items.
    pub(crate) fn parse(size: i32, token: &str, query: &[&str], checks: &mut Checks) -> Self {
        let query = digest(query);
        let wanted = usize::try_from(size);
        if wanted.is_err() {
            checks.violated("page_size", "is negative");
        }
        let size = match wanted {
            Ok(0) | Err(_) => DEFAULT_SIZE,
            Ok(size) => size.min(MAX_SIZE),
        };
        let after = match token {
            "" => None,
            token => decode(token, query).or_else(|| {
                checks.violated("page_token", "is none of this query");
                None
            }),
        };
        Self { size, after, query }
    }

    /// The token of the page after the item with that key.
    pub(crate) fn token_after(&self, key: &str) -> String {
        hex::encode([self.query.as_slice(), key.as_bytes()].concat())
    }

    /// Cuts the page out of all items, ordered by key, and makes the token of the next
    /// one.
    pub(crate) fn cut<T, M: Message>(
        &self,
        all: &[T],
        descending: bool,
        key: impl Fn(&T) -> String,
        convert: impl Fn(&T) -> M,
    ) -> (Vec<M>, String) {
        let mut due: Vec<&T> = all.iter().collect();
        due.sort_by_cached_key(|item| key(item));
        if descending {
            due.reverse();
        }
        if let Some(after) = &self.after {
            due.retain(|item| (key(item) < *after) == descending && key(item) != *after);
        }
        self.take(due.into_iter(), &key, convert)
    }

    /// The same of items that all come after the page before, in their order.
    pub(crate) fn take<'a, T: 'a, M: Message>(
        &self,
        due: impl Iterator<Item = &'a T>,
        key: impl Fn(&T) -> String,
        convert: impl Fn(&T) -> M,
    ) -> (Vec<M>, String) {
        let (mut page, mut bytes, mut last) = (Vec::new(), 0, None);
        for item in due {
            let message = convert(item);
            bytes += message.encoded_len();
            let full = page.len() == self.size || MAX_BYTES < bytes;
            if let Some(last) = last.filter(|_| full) {
                return (page, self.token_after(&key(last)));
            }
            page.push(message);
            last = Some(item);
        }
        (page, String::new())
    }
}

fn digest(query: &[&str]) -> [u8; QUERY] {
    let digest = Sha256::digest(format!("{query:?}"));
    let mut start = [0; QUERY];
    start.copy_from_slice(&digest[..QUERY]);
    start
}

fn decode(token: &str, query: [u8; QUERY]) -> Option<String> {
    if MAX_TOKEN < token.len() {
        return None;
    }
    let bytes = hex::decode(token).ok()?;
    let key = bytes.strip_prefix(&query)?;
    String::from_utf8(key.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn page(size: i32, token: &str, query: &[&str]) -> Result<Page, crate::fault::Fault> {
        let mut checks = Checks::default();
        let page = Page::parse(size, token, query, &mut checks);
        checks.finish().map(|()| page)
    }

    #[test]
    fn what_stays_is_met_once_whatever_comes_and_goes() {
        walk_under_churn(false);
        walk_under_churn(true);
    }

    fn walk_under_churn(descending: bool) {
        let mut world: BTreeSet<String> = (0..1000).map(|n| format!("vm-{n:04}")).collect();
        let stays: BTreeSet<String> = world.iter().step_by(2).cloned().collect();
        let (mut token, mut met, mut round) = (String::new(), Vec::new(), 0);
        loop {
            let page = page(37, &token, &["vms"]).unwrap();
            let all: Vec<String> = world.iter().cloned().collect();
            let (items, next) = page.cut(&all, descending, Clone::clone, Clone::clone);
            met.extend(items);
            if next.is_empty() {
                break;
            }
            token = next;
            round += 1;
            // others vanish and appear before and behind
            world.remove(&format!("vm-{:04}", (round * 211 % 500) * 2 + 1));
            world.insert(format!("vm-{:04}-new", round * 97 % 1000));
        }
        let kept: Vec<String> = met.into_iter().filter(|one| stays.contains(one)).collect();
        let mut expected: Vec<String> = stays.into_iter().collect();
        if descending {
            expected.reverse();
        }
        assert_eq!(kept, expected);
    }

    #[test]
    fn sizes_are_bounded_and_tokens_belong_to_their_query() {
        assert_eq!(page(0, "", &[]).unwrap().size, DEFAULT_SIZE);
        assert_eq!(page(i32::MAX, "", &[]).unwrap().size, MAX_SIZE);
        assert!(page(-1, "", &[]).is_err());
        let token = page(1, "", &["a"]).unwrap().token_after("k");
        assert_eq!(page(1, &token, &["a"]).unwrap().after.as_deref(), Some("k"));
        assert!(page(1, &token, &["b"]).is_err());
        let long = "00".repeat(MAX_TOKEN);
        for token in ["x", "00", "zz00", long.as_str()] {
            assert!(page(1, token, &["a"]).is_err(), "{token:?}");
        }
    }

    #[test]
    fn a_page_that_ends_the_list_leads_nowhere() {
        let all = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
        let two = page(2, "", &[]).unwrap();
        let cut = |all: Vec<String>| two.cut(&all, false, Clone::clone, Clone::clone);
        assert_eq!(cut(all(2)).1, "");
        assert_ne!(cut(all(3)).1, "");
        assert_eq!(cut(all(0)), (Vec::new(), String::new()));
    }

    #[test]
    fn a_page_of_large_items_is_shorter_and_has_one_at_least() {
        let all: Vec<String> = (0..4)
            .map(|n| format!("{n}{}", "x".repeat(MAX_BYTES / 2)))
            .collect();
        let page = page(0, "", &[]).unwrap();
        let first = |item: &String| item[..1].to_owned();
        let (items, token) = page.cut(&all, false, first, Clone::clone);
        assert_eq!(items.len(), 1);
        assert_eq!(token, page.token_after("0"));
    }
}

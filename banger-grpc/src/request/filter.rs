//! Filters of lists of machines: terms joined by AND, each `FIELD=VALUE` or
//! `FIELD!=VALUE`. Pure.
//!
//! Entry points: [`Filter`].

use std::str::FromStr;

use banger_core::domain::{VmProperty, VmState, VmTerm};

use crate::convert::vm::OWN_LABELS;

/// Longest filter.
const MAX_LENGTH: usize = 1024;

/// Which machines are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) terms: Vec<VmTerm>,
}

/// A text that is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FilterError {
    #[error("is longer than {MAX_LENGTH} bytes")]
    TooLong,
    #[error("{0:?} is no FIELD=VALUE or FIELD!=VALUE")]
    NoTerm(String),
    #[error("the field {0:?} is unknown")]
    UnknownField(String),
    #[error("the state {0:?} is unknown")]
    UnknownState(String),
    #[error("terms are joined by AND, and not by {0:?}")]
    NoAnd(String),
    #[error("a quotation is not closed")]
    OpenQuotation,
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        if MAX_LENGTH < text.len() {
            return Err(FilterError::TooLong);
        }
        let words = words(text)?;
        let mut terms = Vec::new();
        for (index, word) in words.iter().enumerate() {
            if index % 2 == 0 {
                terms.push(term(word)?);
            } else if word != "AND" {
                return Err(FilterError::NoAnd(word.clone()));
            }
        }
        if !words.is_empty() && words.len() % 2 == 0 {
            return Err(FilterError::NoTerm(String::new()));
        }
        Ok(Self { terms })
    }
}

/// The words between spaces; quotation marks are kept, what stands between two of
/// them is part of one word.
fn words(text: &str) -> Result<Vec<String>, FilterError> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        quoted ^= c == '"';
        if c == ' ' && !quoted {
            words.push(std::mem::take(&mut word));
        } else {
            word.push(c);
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    if quoted {
        return Err(FilterError::OpenQuotation);
    }
    Ok(words)
}

fn term(word: &str) -> Result<VmTerm, FilterError> {
    let no_term = || FilterError::NoTerm(word.to_owned());
    let (left, value) = word.split_once('=').ok_or_else(no_term)?;
    let (name, negated) = match left.strip_suffix('!') {
        Some(name) => (name, true),
        None => (left, false),
    };
    let quotation = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let value = quotation.unwrap_or(value);
    if value.contains('"') || (value.is_empty() && quotation.is_none()) {
        return Err(no_term());
    }
    Ok(VmTerm {
        property: property(name, value)?,
        negated,
    })
}

fn property(name: &str, value: &str) -> Result<VmProperty, FilterError> {
    Ok(match name {
        "state" => VmProperty::State(state(value)?),
        "name" => VmProperty::Name(value.to_owned()),
        "uid" => VmProperty::Id(value.to_owned()),
        // what is no name of an image is no machine's
        "image" => VmProperty::Image(value.strip_prefix("images/").unwrap_or("").to_owned()),
        name => match name.strip_prefix("labels.") {
            // the server's own are no part of the API
            Some(key) if !key.is_empty() && !key.starts_with(OWN_LABELS) => VmProperty::Label {
                key: key.to_owned(),
                value: value.to_owned(),
            },
            _ => return Err(FilterError::UnknownField(name.to_owned())),
        },
    })
}

fn state(name: &str) -> Result<VmState, FilterError> {
    let known = VmState::ALL
        .into_iter()
        .find(|state| state.as_str().to_uppercase() == name);
    known.ok_or_else(|| FilterError::UnknownState(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::vm;

    #[test]
    fn terms_choose_by_every_field() {
        let mut web = vm("web");
        web.state = VmState::Running;
        web.spec.labels.insert("run".to_owned(), "a b".to_owned());
        let image = format!("image=images/{}", web.image);
        let uid = format!("uid={}", web.id);
        for (text, expected) in [
            ("", true),
            ("state=RUNNING", true),
            ("state!=RUNNING", false),
            ("state=STOPPED", false),
            ("name=web", true),
            ("labels.run=\"a b\"", true),
            ("labels.run=\"a\"", false),
            ("labels.other=\"\"", false),
            ("labels.other!=x", true),
            ("name=web AND state=RUNNING AND labels.run!=x", true),
            ("name=web AND state=FAILED", false),
            (image.as_str(), true),
            (uid.as_str(), true),
        ] {
            let filter: Filter = text.parse().unwrap();
            let matches = filter.terms.iter().all(|term| term.matches(&web));
            assert_eq!(matches, expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused_with_the_reason() {
        for (text, problem) in [
            ("name", "no FIELD=VALUE"),
            ("name=", "no FIELD=VALUE"),
            ("name=a\"b\"", "no FIELD=VALUE"),
            ("name=\"a", "not closed"),
            ("name=a OR name=b", "joined by AND"),
            ("name=a AND", "no FIELD=VALUE"),
            ("memory=1", "unknown"),
            ("labels.=1", "unknown"),
            ("labels.banger.operation=1", "unknown"),
            ("state=running", "unknown"),
        ] {
            let error = text.parse::<Filter>().unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
        let long = format!("name={}", "x".repeat(MAX_LENGTH));
        assert_eq!(long.parse::<Filter>(), Err(FilterError::TooLong));
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in ".{0,80}") {
            drop(text.parse::<Filter>());
        }
    }
}

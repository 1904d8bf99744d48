//! What is let in, and what must vouch for it.
//!
//! The first rule whose pattern fits decides; where none does, the default. A
//! pattern is compared with the whole reference and, for one in a registry,
//! with the reference without its tag and digest; `*` stands for any text.

use super::{CosignKey, MinisignKey, TrustError};
use crate::domain::{Verdict, Vouched};

/// What is asked of what is pulled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Of images; none where there is no policy.
    pub images: Option<Rules>,
    /// Of kernels; none where there is no policy.
    pub kernels: Option<Rules>,
}

/// Rules, the first of which that fits decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The rules.
    pub rules: Vec<Rule>,
    /// What holds where none fits.
    pub default: Requirement,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// For what.
    pub pattern: Pattern,
    /// What is asked.
    pub requirement: Requirement,
}

/// Which references a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

/// What is asked of what is pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Requirement {
    /// Nothing.
    Accept,
    /// It is refused.
    Refuse,
    /// A cosign signature by this key, beside the image in its registry.
    Cosign(CosignKey),
    /// A minisign signature by this key, beside the bundle.
    Minisign(MinisignKey),
}

/// What a policy says of one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    subject: String,
    rule: Option<String>,
    requirement: Requirement,
}

impl Pattern {
    /// A pattern.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Whether it fits a text.
    #[must_use]
    pub fn fits(&self, text: &str) -> bool {
        let Some((start, rest)) = self.0.split_once('*') else {
            return self.0 == text;
        };
        let Some(mut text) = text.strip_prefix(start) else {
            return false;
        };
        let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
        // the shortest match of each piece leaves the most for the others
        for piece in middle.split('*') {
            let Some((_, behind)) = text.split_once(piece) else {
                return false;
            };
            text = behind;
        }
        text.ends_with(end)
    }
}

impl Rules {
    fn requirement(&self, texts: &[&str]) -> (String, &Requirement) {
        let fits = |rule: &&Rule| texts.iter().any(|text| rule.pattern.fits(text));
        match self.rules.iter().find(fits) {
            Some(rule) => (format!("rule {:?}", rule.pattern.0), &rule.requirement),
            None => ("the default".to_owned(), &self.default),
        }
    }
}

impl Admission {
    /// What `rules` say of `subject`, which is also called `other`; an error
    /// when it is refused at once.
    pub fn of(
        rules: Option<&Rules>,
        subject: &str,
        other: Option<&str>,
    ) -> Result<Self, TrustError> {
        let subject = subject.to_owned();
        let Some(rules) = rules else {
            return Ok(Self {
                subject,
                rule: None,
                requirement: Requirement::Accept,
            });
        };
        let texts: Vec<&str> = std::iter::once(subject.as_str()).chain(other).collect();
        let (rule, requirement) = rules.requirement(&texts);
        match requirement {
            Requirement::Refuse => Err(TrustError::Refused { subject, rule }),
            requirement => Ok(Self {
                requirement: requirement.clone(),
                rule: Some(rule),
                subject,
            }),
        }
    }

    /// The key of the cosign signature that is asked for.
    pub fn cosign(&self) -> Result<Option<&CosignKey>, TrustError> {
        match &self.requirement {
            Requirement::Accept => Ok(None),
            Requirement::Cosign(key) => Ok(Some(key)),
            Requirement::Minisign(_) => Err(self.inapplicable("minisign")),
            Requirement::Refuse => Err(self.refused()),
        }
    }

    /// The key of the minisign signature that is asked for.
    pub fn minisign(&self) -> Result<Option<&MinisignKey>, TrustError> {
        match &self.requirement {
            Requirement::Accept => Ok(None),
            Requirement::Minisign(key) => Ok(Some(key)),
            Requirement::Cosign(_) => Err(self.inapplicable("cosign")),
            Requirement::Refuse => Err(self.refused()),
        }
    }

    /// Refuses where any signature is asked for: there can be none.
    pub fn unsigned(&self) -> Result<(), TrustError> {
        match &self.requirement {
            Requirement::Accept => Ok(()),
            Requirement::Cosign(_) => Err(self.inapplicable("cosign")),
            Requirement::Minisign(_) => Err(self.inapplicable("minisign")),
            Requirement::Refuse => Err(self.refused()),
        }
    }

    /// What goes into the record once everything that was asked for holds;
    /// none where no policy asked anything.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        let vouched = match &self.requirement {
            Requirement::Cosign(key) => Vouched::Cosign(*key.fingerprint()),
            Requirement::Minisign(key) => Vouched::Minisign(key.text().to_owned()),
            Requirement::Accept | Requirement::Refuse => Vouched::Nobody,
        };
        Some(Verdict {
            rule: self.rule.clone()?,
            vouched,
        })
    }

    /// The error of a signature that is missing or wrong.
    #[must_use]
    pub fn unvouched(&self, problem: String) -> TrustError {
        TrustError::Unsigned {
            subject: self.subject.clone(),
            problem,
            key: match &self.requirement {
                Requirement::Cosign(key) => key.fingerprint().to_string(),
                Requirement::Minisign(key) => key.text().to_owned(),
                Requirement::Accept | Requirement::Refuse => "none".to_owned(),
            },
        }
    }

    fn inapplicable(&self, scheme: &'static str) -> TrustError {
        TrustError::Inapplicable {
            subject: self.subject.clone(),
            rule: self.rule.clone().unwrap_or_default(),
            scheme,
        }
    }

    fn refused(&self) -> TrustError {
        TrustError::Refused {
            subject: self.subject.clone(),
            rule: self.rule.clone().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_written() {
        let cases = [
            ("docker.io/library/debian", "docker.io/library/debian", true),
            (
                "docker.io/library/debian",
                "docker.io/library/debian2",
                false,
            ),
            ("docker.io/*", "docker.io/library/debian:12", true),
            ("docker.io/*", "evil.io/docker.io/x", false),
            ("*/debian:*", "docker.io/library/debian:12", true),
            ("*", "", true),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a*a", "a", false),
            ("file:/srv/*.zst", "file:/srv/a.tar.zst", true),
        ];
        for (pattern, text, fits) in cases {
            assert_eq!(Pattern::new(pattern).fits(text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn the_first_rule_decides_and_the_default_is_last() {
        let rule = |pattern, requirement| Rule {
            pattern: Pattern::new(pattern),
            requirement,
        };
        let rules = Rules {
            rules: vec![
                rule("a/bad*", Requirement::Refuse),
                rule("a/*", Requirement::Accept),
            ],
            default: Requirement::Refuse,
        };
        let of = |text| Admission::of(Some(&rules), text, None);
        assert!(matches!(of("a/bad:1"), Err(TrustError::Refused { .. })));
        assert!(matches!(of("b/x"), Err(TrustError::Refused { .. })));
        let verdict = of("a/good").unwrap().verdict().unwrap();
        assert_eq!(verdict.rule, "rule \"a/*\"");
        assert_eq!(verdict.vouched, Vouched::Nobody);
        let tagged = Admission::of(Some(&rules), "x:1", Some("a/good"));
        assert!(tagged.is_ok());
        let none = Admission::of(None, "b/x", None).unwrap();
        assert_eq!(none.verdict(), None);
        assert_eq!(none.unsigned(), Ok(()));
    }
}

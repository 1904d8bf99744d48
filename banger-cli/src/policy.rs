//! The policy file: what is let in, and what must vouch for it.
//!
//! Purpose: the one place that knows the file's form. Invariants: an unknown
//! key is an error; parsing is apart from reading; whatever is wrong with the
//! file or with a key that it names is an error, never a rule that is left
//! out. Key files' paths start at the file's own directory.
//! Entry points: [`read`], [`parse`].

use std::io;

use banger_core::trust::{CosignKey, MinisignKey, Pattern, Policy, Requirement, Rule, Rules};
use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PolicyTable {
    images: Option<RulesTable>,
    kernels: Option<RulesTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RulesTable {
    default: DefaultName,
    #[serde(default)]
    rules: Vec<RuleTable>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum DefaultName {
    Accept,
    Refuse,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RuleTable {
    #[serde(rename = "match")]
    pattern: String,
    require: RequirementName,
    key: Option<Utf8PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RequirementName {
    Accept,
    Refuse,
    Cosign,
    Minisign,
}

/// The policy cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("failed to read policy {path}")]
    Read {
        /// The file.
        path: Utf8PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is no policy.
    #[error("policy {path}: {problem}")]
    Invalid {
        /// The file.
        path: Utf8PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A key's file cannot be read.
    #[error("policy {path}: failed to read key {key}")]
    Key {
        /// The policy's file.
        path: Utf8PathBuf,
        /// The key's file.
        key: Utf8PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Reads the policy at `path` and the keys that it names.
pub fn read(path: &Utf8Path) -> Result<Policy, PolicyError> {
    let text = std::fs::read_to_string(path).map_err(|source| PolicyError::Read {
        path: path.to_owned(),
        source,
    })?;
    parse(path, &text, &|key| std::fs::read_to_string(key))
}

/// Parses the text of the file at `path`; `read_key` reads a key's file.
pub fn parse(
    path: &Utf8Path,
    text: &str,
    read_key: &dyn Fn(&Utf8Path) -> io::Result<String>,
) -> Result<Policy, PolicyError> {
    let table: PolicyTable = toml::from_str(text).map_err(|error| {
        let lines: Vec<&str> = error.message().lines().collect();
        invalid(path, lines.join("; "))
    })?;
    let keys = Keys { path, read_key };
    let rules = |table: Option<RulesTable>| table.map(|table| keys.rules(table)).transpose();
    Ok(Policy {
        images: rules(table.images)?,
        kernels: rules(table.kernels)?,
    })
}

fn invalid(path: &Utf8Path, problem: String) -> PolicyError {
    PolicyError::Invalid {
        path: path.to_owned(),
        problem,
    }
}

/// Reads the keys of a policy.
struct Keys<'a> {
    path: &'a Utf8Path,
    read_key: &'a dyn Fn(&Utf8Path) -> io::Result<String>,
}

impl Keys<'_> {
    fn rules(&self, table: RulesTable) -> Result<Rules, PolicyError> {
        let rules = table.rules.into_iter().map(|rule| self.rule(&rule));
        Ok(Rules {
            rules: rules.collect::<Result<_, _>>()?,
            default: match table.default {
                DefaultName::Accept => Requirement::Accept,
                DefaultName::Refuse => Requirement::Refuse,
            },
        })
    }

    fn rule(&self, table: &RuleTable) -> Result<Rule, PolicyError> {
        use RequirementName as R;
        let key = table.key.as_deref();
        let requirement = match (table.require, key) {
            (R::Accept, None) => Requirement::Accept,
            (R::Refuse, None) => Requirement::Refuse,
            (R::Cosign, Some(key)) => {
                let parsed = CosignKey::parse(&self.read(key)?);
                Requirement::Cosign(parsed.map_err(|error| self.bad_key(key, &error))?)
            }
            (R::Minisign, Some(key)) => {
                let parsed = MinisignKey::parse(&self.read(key)?);
                Requirement::Minisign(parsed.map_err(|error| self.bad_key(key, &error))?)
            }
            (R::Cosign | R::Minisign, None) => return Err(self.problem(table, "needs a key")),
            (R::Accept | R::Refuse, Some(_)) => return Err(self.problem(table, "takes no key")),
        };
        Ok(Rule {
            pattern: Pattern::new(&table.pattern),
            requirement,
        })
    }

    fn read(&self, key: &Utf8Path) -> Result<String, PolicyError> {
        let directory = self.path.parent().unwrap_or_else(|| Utf8Path::new("/"));
        let file = directory.join(key);
        (self.read_key)(&file).map_err(|source| PolicyError::Key {
            path: self.path.to_owned(),
            key: file,
            source,
        })
    }

    fn bad_key(&self, key: &Utf8Path, error: &banger_core::trust::KeyParseError) -> PolicyError {
        invalid(self.path, format!("in {key}, {error}"))
    }

    fn problem(&self, table: &RuleTable, problem: &str) -> PolicyError {
        invalid(self.path, format!("rule {:?} {problem}", table.pattern))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINISIGN: &str = "RWSJryKNyYCCU6Xcy66GJvvSKVdkoeBBiz3xxoU4gYtiKAcZGm/clkZK";

    fn policy(text: &str) -> Result<Policy, PolicyError> {
        parse(
            Utf8Path::new("/p/policy.toml"),
            text,
            &|key| match key.as_str() {
                "/p/kernels.pub" => Ok(MINISIGN.to_owned()),
                "/p/bad.pub" => Ok("bad".to_owned()),
                _ => Err(io::ErrorKind::NotFound.into()),
            },
        )
    }

    #[test]
    fn rules_keep_their_order_and_keys_lie_beside_the_file() {
        let text = "[images]\ndefault = \"refuse\"\n\
            [[images.rules]]\nmatch = \"docker.io/*\"\nrequire = \"accept\"\n\
            [kernels]\ndefault = \"accept\"\n\
            [[kernels.rules]]\nmatch = \"https:*\"\nrequire = \"minisign\"\nkey = \"kernels.pub\"\n";
        let policy = policy(text).unwrap();
        let images = policy.images.unwrap();
        assert_eq!(images.default, Requirement::Refuse);
        assert_eq!(images.rules[0].pattern, Pattern::new("docker.io/*"));
        let key = MinisignKey::parse(MINISIGN).unwrap();
        let kernels = policy.kernels.unwrap();
        assert_eq!(kernels.rules[0].requirement, Requirement::Minisign(key));
    }

    #[test]
    fn whatever_is_wrong_is_an_error() {
        let rule = |rest: &str| {
            format!("[images]\ndefault = \"accept\"\n[[images.rules]]\nmatch = \"*\"\n{rest}\n")
        };
        for text in [
            "[images]\n".to_owned(),
            "[image]\ndefault = \"accept\"\n".to_owned(),
            "[images]\ndefault = \"cosign\"\n".to_owned(),
            rule("require = \"cosign\""),
            rule("require = \"trust\""),
            rule("require = \"accept\"\nkey = \"kernels.pub\""),
            rule("require = \"minisign\"\nkey = \"bad.pub\""),
            rule("require = \"cosign\"\nkey = \"kernels.pub\""),
            rule("require = \"cosign\"\nkey = \"missing.pub\""),
            rule("require = \"refuse\"\nkeys = []"),
        ] {
            let error = policy(&text).unwrap_err().to_string();
            assert!(error.starts_with("policy /p/policy.toml: "), "{error}");
        }
    }
}

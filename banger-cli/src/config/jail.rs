//! `[jail]`: how Firecracker is jailed.

use std::{fmt::Display, str::FromStr};

use banger_core::vmm::{JailIds, JailMode, JailOptions};
use camino::Utf8PathBuf;
use serde::{Deserialize, Deserializer};

/// How Firecracker is jailed; the library's way where unset.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct JailConfig {
    /// When.
    #[serde(deserialize_with = "text")]
    pub mode: Option<JailMode>,
    /// The users and groups that nobody else has.
    #[serde(deserialize_with = "text")]
    pub ids: Option<JailIds>,
}

impl JailConfig {
    /// What the library takes, with this jailer.
    #[must_use]
    pub fn options(&self, program: Option<Utf8PathBuf>) -> JailOptions {
        JailOptions {
            mode: self.mode.unwrap_or_default(),
            program,
            ids: self.ids.unwrap_or_default(),
        }
    }
}

fn text<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

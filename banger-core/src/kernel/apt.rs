//! Packages through the host's own apt.
//!
//! Purpose: from a package's name to its file. Invariants: needs no
//! privilege and changes nothing on the host outside the directory it is
//! given; apt verifies what it fetches; no name becomes an option.
//! Entry points: [`find_kernel_package`], [`download`].

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use tokio::process::Command;

use crate::process::{ChildError, command, run};

const QUERY_DEADLINE: Duration = Duration::from_mins(1);
const DOWNLOAD_DEADLINE: Duration = Duration::from_mins(15);
/// How many metapackages lead to a kernel at most (two where it is most).
const STEPS_LIMIT: usize = 4;

/// The package that holds a kernel, in the version apt would install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AptPackage {
    pub(crate) name: String,
    pub(crate) version: String,
}

/// Follows metapackages (`linux-image-cloud-amd64`) to the package with the
/// kernel.
pub(crate) async fn find_kernel_package(name: &str) -> Result<AptPackage, ChildError> {
    let mut stanza = Stanza::parse(&show(name).await?);
    for _ in 0..STEPS_LIMIT {
        match stanza.kernel_dependency() {
            Some(next) => stanza = Stanza::parse(&show(&next).await?),
            None => break,
        }
    }
    Ok(AptPackage {
        name: if stanza.package.is_empty() {
            name.to_owned()
        } else {
            stanza.package
        },
        version: stanza.version,
    })
}

/// Fetches a package into `directory` and answers its file, if there is one.
pub(crate) async fn download(
    package: &AptPackage,
    directory: &Utf8Path,
) -> Result<Option<Utf8PathBuf>, ChildError> {
    let wanted = match package.version.as_str() {
        "" => package.name.clone(),
        version => format!("{}={version}", package.name),
    };
    let mut child = apt_command("apt-get");
    child
        .args(["-q", "download", "--", &wanted])
        .current_dir(directory);
    run(child, DOWNLOAD_DEADLINE).await?;
    Ok(package_file(directory))
}

async fn show(name: &str) -> Result<String, ChildError> {
    let mut child = apt_command("apt-cache");
    child.args(["show", "--no-all-versions", "--", name]);
    let output = run(child, QUERY_DEADLINE).await?;
    Ok(String::from_utf8_lossy(&output).into_owned())
}

fn apt_command(program: &str) -> Command {
    let mut child = command(program);
    child.env("LC_ALL", "C.UTF-8");
    child
}

fn package_file(directory: &Utf8Path) -> Option<Utf8PathBuf> {
    let mut files = directory.read_dir_utf8().ok()?.flatten();
    let file = files.find(|entry| entry.path().extension() == Some("deb"))?;
    Some(file.into_path())
}

/// The fields of a package's description that matter here (Debian policy, 5.1).
#[derive(Debug, Default, PartialEq, Eq)]
struct Stanza {
    package: String,
    version: String,
    depends: String,
}

impl Stanza {
    /// Reads the first stanza of a text.
    fn parse(text: &str) -> Self {
        let mut stanza = Self::default();
        let lines = text.lines().take_while(|line| !line.is_empty());
        for (key, value) in lines.filter_map(|line| line.split_once(':')) {
            match key {
                "Package" => value.trim().clone_into(&mut stanza.package),
                "Version" => value.trim().clone_into(&mut stanza.version),
                "Depends" => value.trim().clone_into(&mut stanza.depends),
                _ => {}
            }
        }
        stanza
    }

    /// The package this one leads to when it is a metapackage: the first
    /// alternative of a dependency called like a kernel's package. A package
    /// with a kernel in it (`linux-image-6.1.0-…`) leads nowhere.
    fn kernel_dependency(&self) -> Option<String> {
        if is_kernel_package(&self.package) {
            return None;
        }
        let first_alternatives = self.depends.split(',').filter_map(|dependency| {
            let name = dependency.split('|').next()?.split_whitespace().next()?;
            Some(name.split(':').next().unwrap_or(name).to_owned())
        });
        let images: Vec<String> = first_alternatives
            .filter(|name| name.starts_with("linux-image-") && name != &self.package)
            .collect();
        let with_kernel = images.iter().find(|name| is_kernel_package(name));
        with_kernel.or(images.first()).cloned()
    }
}

/// `linux-image-` and a version.
fn is_kernel_package(name: &str) -> bool {
    let version = name
        .strip_prefix("linux-image-unsigned-")
        .or_else(|| name.strip_prefix("linux-image-"));
    version
        .and_then(|version| version.bytes().next())
        .is_some_and(|first| first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depending_on(package: &str, depends: &str) -> Stanza {
        Stanza::parse(&format!(
            "Package: {package}\nVersion: 1:6.1-1~x\nDepends: {depends}\nDescription: a: b\n more\n\nPackage: other\n"
        ))
    }

    #[test]
    fn a_metapackage_leads_to_its_kernel() {
        let cases = [
            (
                "linux-image-cloud-amd64",
                "linux-image-6.1.0-48-cloud-amd64 (= 6.1.172-1)",
                Some("linux-image-6.1.0-48-cloud-amd64"),
            ),
            (
                "linux-generic",
                "linux-image-generic (= 6.8), linux-headers-generic",
                Some("linux-image-generic"),
            ),
            (
                "linux-image-amd64",
                "linux-image-rt, linux-image-6.1:amd64 | linux-image-6.1-unsigned",
                Some("linux-image-6.1"),
            ),
            (
                "linux-image-6.1.0-48-amd64",
                "kmod, linux-base, linux-image-6.1-extra",
                None,
            ),
            ("linux-image-unsigned-6.8.0-1-generic", "kmod", None),
            ("bash", "libc6 (>= 2.36)", None),
        ];
        for (package, depends, expected) in cases {
            let stanza = depending_on(package, depends);
            assert_eq!(stanza.version, "1:6.1-1~x");
            assert_eq!(stanza.kernel_dependency().as_deref(), expected, "{package}");
        }
        assert_eq!(Stanza::parse(""), Stanza::default());
    }
}

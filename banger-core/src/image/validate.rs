//! Checks of the files an image is to be made from. Each validator reports
//! every problem at once, so that a user corrects a command line in one go.

use std::fmt;

use camino::{Utf8Path, Utf8PathBuf};

use crate::domain::{BootArtifacts, Image};

/// One file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathProblem {
    /// What the file is for: "kernel", "initrd", "modules", "rootfs".
    pub role: &'static str,
    /// The path as given.
    pub path: Utf8PathBuf,
    /// What is wrong.
    pub problem: String,
    /// What would help.
    pub hint: &'static str,
}

impl fmt::Display for PathProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {} ({})",
            self.role, self.path, self.problem, self.hint
        )
    }
}

/// Every problem of a set of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidationError {
    problems: Vec<PathProblem>,
}

impl From<PathProblem> for ValidationError {
    fn from(problem: PathProblem) -> Self {
        Self {
            problems: vec![problem],
        }
    }
}

impl ValidationError {
    /// The problems, at least one.
    #[must_use]
    pub fn problems(&self) -> &[PathProblem] {
        &self.problems
    }
}

impl fmt::Display for ValidationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problems: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
        f.write_str(&problems.join("; "))
    }
}

impl std::error::Error for ValidationError {}

/// Checks a kernel triple: the kernel is a regular file; the initrd, if given,
/// a regular file; the modules, if given, a directory.
pub fn validate_kernel_paths(boot: &BootArtifacts) -> Result<(), ValidationError> {
    settle(kernel_problems(boot))
}

/// Checks a root disk (a regular file) and its kernel triple.
pub fn validate_register_paths(
    rootfs: &Utf8Path,
    boot: &BootArtifacts,
) -> Result<(), ValidationError> {
    let mut problems: Vec<PathProblem> = rootfs_problem(rootfs).into_iter().collect();
    problems.extend(kernel_problems(boot));
    settle(problems)
}

/// Checks the files of a record that is about to be copied.
pub fn validate_promote_paths(image: &Image) -> Result<(), ValidationError> {
    validate_register_paths(&image.rootfs, &image.boot)
}

/// What is wrong with the file of a root disk.
pub(super) fn rootfs_problem(path: &Utf8Path) -> Option<PathProblem> {
    file_problem("rootfs", path, "give the path of an ext4 image file")
}

/// No problem, or all of them.
pub(crate) fn settle(problems: Vec<PathProblem>) -> Result<(), ValidationError> {
    if problems.is_empty() {
        Ok(())
    } else {
        Err(ValidationError { problems })
    }
}

/// What is wrong with a kernel triple.
pub(crate) fn kernel_problems(boot: &BootArtifacts) -> Vec<PathProblem> {
    let kernel = file_problem(
        "kernel",
        &boot.kernel,
        "give the path of an uncompressed vmlinux",
    );
    let initrd = boot
        .initrd
        .as_deref()
        .and_then(|path| file_problem("initrd", path, "give the path of an initrd file, or none"));
    let modules = boot.modules.as_deref().and_then(modules_problem);
    [kernel, initrd, modules].into_iter().flatten().collect()
}

fn file_problem(role: &'static str, path: &Utf8Path, hint: &'static str) -> Option<PathProblem> {
    let problem = match path.metadata() {
        Ok(metadata) if metadata.is_file() => return None,
        Ok(_) => "is not a regular file".to_owned(),
        Err(error) => describe(&error),
    };
    Some(PathProblem {
        role,
        path: path.to_owned(),
        problem,
        hint,
    })
}

fn modules_problem(path: &Utf8Path) -> Option<PathProblem> {
    let problem = match path.metadata() {
        Ok(metadata) if metadata.is_dir() => return None,
        Ok(_) => "is not a directory".to_owned(),
        Err(error) => describe(&error),
    };
    let hint = "give a directory laid out as /lib/modules/<release>, or none";
    Some(PathProblem {
        role: "modules",
        path: path.to_owned(),
        problem,
        hint,
    })
}

fn describe(error: &std::io::Error) -> String {
    if error.kind() == std::io::ErrorKind::NotFound {
        return "does not exist".to_owned();
    }
    format!("cannot be read: {error}")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn triple(root: &Utf8Path) -> BootArtifacts {
        fs::write(root.join("vmlinux"), "k").unwrap();
        fs::write(root.join("initrd"), "i").unwrap();
        fs::create_dir(root.join("modules")).unwrap();
        BootArtifacts {
            kernel: root.join("vmlinux"),
            initrd: Some(root.join("initrd")),
            modules: Some(root.join("modules")),
        }
    }

    #[test]
    fn a_whole_triple_passes_with_and_without_its_optional_parts() {
        let scratch = tempfile::tempdir().unwrap();
        let boot = triple(Utf8Path::from_path(scratch.path()).unwrap());
        validate_kernel_paths(&boot).unwrap();
        let bare = BootArtifacts {
            initrd: None,
            modules: None,
            ..boot.clone()
        };
        validate_kernel_paths(&bare).unwrap();
        validate_register_paths(&boot.kernel, &boot).unwrap();
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        let boot = triple(root);
        let wrong = BootArtifacts {
            kernel: root.join("modules"),
            initrd: Some(root.join("missing")),
            modules: Some(boot.kernel),
        };
        let error = validate_register_paths(&root.join("disk"), &wrong).unwrap_err();
        let roles: Vec<&str> = error
            .problems()
            .iter()
            .map(|problem| problem.role)
            .collect();
        assert_eq!(roles, ["rootfs", "kernel", "initrd", "modules"]);
        assert!(
            error.to_string().contains("is not a regular file"),
            "{error}"
        );
        assert!(!error.to_string().contains('\n'));
    }

    /// Breaks a path in one of the ways there are: missing, or of another kind.
    fn broken(root: &Utf8Path, role: &str, is_missing: bool) -> Utf8PathBuf {
        match (is_missing, role) {
            (true, _) => root.join(format!("no-{role}")),
            (false, "modules") => root.join("vmlinux"),
            (false, _) => root.join("modules"),
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

        #[test]
        fn exactly_the_wrong_files_are_reported(
            wrong in proptest::prelude::any::<[Option<bool>; 4]>(),
        ) {
            let scratch = tempfile::tempdir().unwrap();
            let root = Utf8Path::from_path(scratch.path()).unwrap();
            let good = triple(root);
            fs::write(root.join("disk"), "d").unwrap();
            let path = |index: usize, role: &str, right: Utf8PathBuf| {
                wrong[index].map_or(right, |is_missing| broken(root, role, is_missing))
            };
            let boot = BootArtifacts {
                kernel: path(1, "kernel", good.kernel),
                initrd: good.initrd.map(|right| path(2, "initrd", right)),
                modules: good.modules.map(|right| path(3, "modules", right)),
            };
            let rootfs = path(0, "rootfs", root.join("disk"));
            let roles = |checked: Result<(), ValidationError>| -> Vec<&'static str> {
                let problems = checked.map_or_else(|error| error.problems().to_vec(), |()| vec![]);
                problems.iter().map(|problem| problem.role).collect()
            };
            let expected: Vec<&str> = ["rootfs", "kernel", "initrd", "modules"]
                .into_iter()
                .zip(wrong)
                .filter_map(|(role, wrong)| wrong.map(|_| role))
                .collect();
            let of_kernel: Vec<&str> =
                expected.iter().copied().filter(|role| *role != "rootfs").collect();
            proptest::prop_assert_eq!(roles(validate_register_paths(&rootfs, &boot)), expected);
            proptest::prop_assert_eq!(roles(validate_kernel_paths(&boot)), of_kernel);
        }
    }
}

//! The one policy that turns a user's choice into a kernel triple.

use camino::{Utf8Path, Utf8PathBuf};

use super::{KernelPaths, KernelSelection, ResolveKernelError, vmlinux::check_vmlinux};
use crate::{
    domain::{BootArtifacts, KernelName, ResolvedKernel},
    image::{PathProblem, ValidationError, kernel_problems, settle, validate_kernel_paths},
    store::Store,
};

/// What a selection says, before anything is looked up.
enum Choice<'a> {
    Name(&'a KernelName),
    Paths(BootArtifacts),
}

/// See [`super::KernelResolver::resolve`].
pub(super) async fn resolve(
    store: &Store,
    selection: &KernelSelection,
) -> Result<ResolvedKernel, ResolveKernelError> {
    match choice(selection)? {
        Choice::Paths(boot) => {
            validate_vmlinux_paths(&boot).map_err(ResolveKernelError::Invalid)?;
            Ok(ResolvedKernel { boot, name: None })
        }
        Choice::Name(name) => {
            let kernel = store
                .kernel(name)
                .await
                .map_err(ResolveKernelError::Store)?;
            let kernel =
                kernel.ok_or_else(|| ResolveKernelError::NotFound { name: name.clone() })?;
            validate_kernel_paths(&kernel.boot).map_err(ResolveKernelError::Invalid)?;
            Ok(ResolvedKernel {
                boot: kernel.boot,
                name: Some(kernel.name),
            })
        }
    }
}

fn choice(selection: &KernelSelection) -> Result<Choice<'_>, ResolveKernelError> {
    match (&selection.name, &selection.paths) {
        (Some(name), paths) if !paths.is_empty() => {
            Err(ResolveKernelError::Ambiguous { name: name.clone() })
        }
        (Some(name), _) => Ok(Choice::Name(name)),
        (None, KernelPaths { kernel: None, .. }) => Err(ResolveKernelError::Nothing),
        (
            None,
            KernelPaths {
                kernel: Some(kernel),
                initrd,
                modules,
            },
        ) => Ok(Choice::Paths(BootArtifacts {
            kernel: absolute(kernel),
            initrd: initrd.as_deref().map(absolute),
            modules: modules.as_deref().map(absolute),
        })),
    }
}

/// A path that cannot be made absolute is left to the validation to refuse.
pub(super) fn absolute(path: &Utf8Path) -> Utf8PathBuf {
    camino::absolute_utf8(path).unwrap_or_else(|_| path.to_owned())
}

/// Checks a triple of the user; the kernel must be an uncompressed ELF file.
fn validate_vmlinux_paths(boot: &BootArtifacts) -> Result<(), ValidationError> {
    let mut problems = kernel_problems(boot);
    let kernel_is_file = !problems.iter().any(|problem| problem.role == "kernel");
    if kernel_is_file && let Err(problem) = check_vmlinux(&boot.kernel) {
        let problem = PathProblem {
            role: "kernel",
            path: boot.kernel.clone(),
            problem,
            hint: "import it with `kernel import` and give its name",
        };
        problems.insert(0, problem);
    }
    settle(problems)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{directories::Directories, error::ErrorKind, kernel::elf};

    async fn resolved(selection: KernelSelection) -> Result<ResolvedKernel, ResolveKernelError> {
        let scratch = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(scratch.path()).unwrap();
        let directories = Directories {
            state: root.join("state"),
            cache: root.join("cache"),
            runtime: root.join("run"),
        };
        let store = Store::open(&directories).await.unwrap();
        resolve(&store, &selection).await
    }

    fn by_name(paths: KernelPaths) -> KernelSelection {
        KernelSelection {
            name: Some("linux".parse().unwrap()),
            paths,
        }
    }

    fn by_kernel(kernel: &Utf8Path) -> KernelPaths {
        KernelPaths {
            kernel: Some(kernel.to_owned()),
            ..KernelPaths::default()
        }
    }

    #[tokio::test]
    async fn both_nothing_and_an_unknown_name_are_refused() {
        let both = by_name(by_kernel(Utf8Path::new("/k")));
        let error = resolved(both).await.unwrap_err();
        assert!(matches!(error, ResolveKernelError::Ambiguous { .. }));
        let error = resolved(KernelSelection::default()).await.unwrap_err();
        assert!(matches!(error, ResolveKernelError::Nothing));
        let error = resolved(by_name(KernelPaths::default())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn paths_are_checked_all_at_once() {
        let scratch = tempfile::tempdir().unwrap();
        let kernel = Utf8Path::from_path(scratch.path()).unwrap().join("vmlinux");
        fs::write(&kernel, elf::fixture::header()).unwrap();
        let paths = |paths| KernelSelection { name: None, paths };
        let found = resolved(paths(by_kernel(&kernel))).await.unwrap();
        assert_eq!((found.boot.kernel, found.name), (kernel.clone(), None));

        fs::write(&kernel, "not a kernel").unwrap();
        let wrong = KernelPaths {
            initrd: Some("/nowhere/initrd".into()),
            ..by_kernel(&kernel)
        };
        let error = resolved(paths(wrong)).await.unwrap_err();
        let ResolveKernelError::Invalid(error) = error else {
            panic!("{error}")
        };
        let roles: Vec<&str> = error.problems().iter().map(|found| found.role).collect();
        assert_eq!(roles, ["kernel", "initrd"]);
        assert!(error.to_string().contains("`kernel import`"), "{error}");
    }
}

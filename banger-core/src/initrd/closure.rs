//! Wanted modules and all they depend on, in an order in which each can be
//! loaded.
//!
//! Invariants: each module comes once, after everything it depends on; a
//! built-in one never comes. Dependencies are those of modules.dep where the
//! tree has one, else those that each module declares.

use std::collections::BTreeSet;

use super::{
    InitrdError,
    modinfo::{Needs, needs, normalised},
    tree::{ModuleTree, read_module},
};

/// Longest chain of dependencies; real ones have fewer than ten.
const DEPTH_LIMIT: usize = 64;

/// A module, uncompressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Module {
    pub(super) name: String,
    pub(super) content: Vec<u8>,
}

/// Reads the wanted modules, those of the wished ones that are there, and
/// their dependencies.
pub(super) fn load(
    tree: &ModuleTree,
    wanted: &[&str],
    wished: &[&str],
) -> Result<Vec<Module>, InitrdError> {
    let mut closure = Closure {
        tree,
        modules: Vec::new(),
        loaded: BTreeSet::new(),
        path: Vec::new(),
    };
    for name in wanted {
        closure.visit(&normalised(name))?;
    }
    for name in wished.iter().map(|name| normalised(name)) {
        if tree.file(&name).is_some() {
            closure.visit(&name)?;
        }
    }
    Ok(closure.modules)
}

struct Closure<'a> {
    tree: &'a ModuleTree,
    modules: Vec<Module>,
    loaded: BTreeSet<String>,
    /// The modules being visited, each depending on the next.
    path: Vec<String>,
}

impl Closure<'_> {
    fn visit(&mut self, name: &str) -> Result<(), InitrdError> {
        if self.loaded.contains(name) || self.tree.is_built_in(name) {
            return Ok(());
        }
        self.refuse_circle(name)?;
        let file = self.tree.file(name).ok_or_else(|| self.missing(name))?;
        let content = read_module(file)?;
        let declared = needs(&content).ok_or_else(|| InitrdError::Damaged {
            path: file.to_owned(),
            problem: "it is not a kernel module".to_owned(),
        })?;
        self.path.push(name.to_owned());
        self.visit_needs(name, &declared)?;
        self.path.pop();
        self.loaded.insert(name.to_owned());
        self.modules.push(Module {
            name: name.to_owned(),
            content,
        });
        Ok(())
    }

    fn visit_needs(&mut self, name: &str, declared: &Needs) -> Result<(), InitrdError> {
        let tree = self.tree;
        let indexed = tree.dependencies(name);
        for needed in indexed.unwrap_or(&declared.hard) {
            self.visit(needed)?;
        }
        for wished in &declared.soft {
            if tree.file(wished).is_some() {
                self.visit_softly(wished)?;
            }
        }
        Ok(())
    }

    /// A soft dependency that leads back here is no error: it is left out.
    fn visit_softly(&mut self, name: &str) -> Result<(), InitrdError> {
        let depth = self.path.len();
        match self.visit(name) {
            Err(InitrdError::Cycle { .. }) => {
                self.path.truncate(depth);
                Ok(())
            }
            visited => visited,
        }
    }

    fn refuse_circle(&self, name: &str) -> Result<(), InitrdError> {
        let start = self.path.iter().position(|visited| visited == name);
        let start = start.or((DEPTH_LIMIT <= self.path.len()).then_some(0));
        let Some(start) = start else {
            return Ok(());
        };
        let mut modules = self.path[start..].to_vec();
        modules.push(name.to_owned());
        Err(InitrdError::Cycle { modules })
    }

    fn missing(&self, name: &str) -> InitrdError {
        let (module, tree) = (name.to_owned(), self.tree.root().to_owned());
        match self.path.last() {
            Some(needed_by) => InitrdError::MissingDependency {
                module,
                needed_by: needed_by.clone(),
                tree,
            },
            None => InitrdError::UnknownModule { module, tree },
        }
    }
}

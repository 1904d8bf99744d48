//! What a module says of itself: `key=value` texts, each ended by NUL, in the
//! ELF section `.modinfo` (Linux `include/linux/moduleinfo.h`).

use crate::kernel::elf;

/// The modules a module needs, by normalised name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// It cannot be loaded without them.
    pub(super) hard: Vec<String>,
    /// They are to be loaded before it when they are there (`MODULE_SOFTDEP`).
    pub(super) soft: Vec<String>,
}

/// A module's name with `-` as `_`: the two are the same to the kernel.
pub(super) fn normalised(name: &str) -> String {
    name.replace('-', "_")
}

/// Reads a module's needs; none when it has no `.modinfo`.
pub(super) fn needs(module: &[u8]) -> Option<Needs> {
    let section = elf::section(module, ".modinfo")?;
    let mut needs = Needs::default();
    let texts = section.split(|byte| *byte == 0);
    for text in texts.filter_map(|text| std::str::from_utf8(text).ok()) {
        match text.split_once('=') {
            Some(("depends", value)) => needs.hard.extend(listed(value.split(','))),
            Some(("softdep", value)) => needs.soft.extend(listed(before(value))),
            _ => {}
        }
    }
    Some(needs)
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let names = names.map(str::trim).filter(|name| !name.is_empty());
    names.map(normalised).collect()
}

/// The words between `pre:` and `post:`.
fn before(value: &str) -> impl Iterator<Item = &str> {
    let words = value.split_whitespace();
    words
        .skip_while(|word| *word != "pre:")
        .skip(1)
        .take_while(|word| *word != "post:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_and_soft_needs_are_read() {
        let module = elf::fixture::with_modinfo(
            b"license=GPL\0\0depends=virtio,virtio-ring,\0softdep=pre: crc32c-x a post: b\0softdep=post: c\0",
        );
        let needs = needs(&module).unwrap();
        assert_eq!(needs.hard, ["virtio", "virtio_ring"]);
        assert_eq!(needs.soft, ["crc32c_x", "a"]);
    }

    #[test]
    fn a_module_without_needs_differs_from_no_module() {
        let module = elf::fixture::with_modinfo(b"depends=\0");
        assert_eq!(needs(&module), Some(Needs::default()));
        assert_eq!(needs(b"no module"), None);
    }
}

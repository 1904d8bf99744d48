//! Extended attributes in pax headers.

/// Prefix that libarchive and GNU tar use.
const SCHILY: &[u8] = b"SCHILY.xattr.";

/// Namespaces a Linux kernel knows (xattr(7)).
const NAMESPACES: [&[u8]; 4] = [b"user.", b"trusted.", b"security.", b"system."];

/// The attribute a pax record carries, if it carries one that Linux can hold.
/// Attributes of other systems' namespaces have no meaning here.
pub(super) fn from_pax<'a>(key: &'a [u8], value: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let name = key.strip_prefix(SCHILY)?;
    let known = NAMESPACES
        .iter()
        .any(|namespace| name.starts_with(namespace) && namespace.len() < name.len());
    if !known {
        tracing::warn!(name = %name.escape_ascii(), "an extended attribute of no Linux namespace is left out");
    }
    known.then_some((name, value))
}

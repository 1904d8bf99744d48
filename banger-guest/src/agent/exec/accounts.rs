//! Users and groups by the image's own files.
//!
//! Purpose: what `user[:group]` of an OCI configuration means, by the rules that
//! container engines share. Invariants: no name service is asked; a file that is
//! missing, malformed or not UTF-8 has the lines that can be read, no others.
//! Entry point: [`Accounts::resolve`].
//!
//! The rules: a number is always an id, also one that no file knows (group 0,
//! home `/`); a name must be known; a group given by name must be known;
//! supplementary groups are those that list the user, and only when no group
//! was given.

use std::path::Path;

use rustix::process::{Gid, Uid};

use crate::{files, sys::child::Identity};

/// Highest id: larger ones are refused by all engines.
const HIGHEST_ID: u32 = i32::MAX.cast_unsigned();

/// A user or group that does not exist.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnknownAccount {
    /// No such user.
    #[error("user {0} is not known in the machine")]
    User(String),
    /// No such group.
    #[error("group {0} is not known in the machine")]
    Group(String),
}

/// A user as found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// Ids.
    pub(crate) identity: Identity,
    /// Home directory.
    pub(crate) home: Vec<u8>,
    /// Name, if a file has one.
    pub(crate) name: Option<Vec<u8>>,
    /// Login shell, if a file names one.
    pub(crate) shell: Option<Vec<u8>>,
}

/// The contents of `/etc/passwd` and `/etc/group` (passwd(5), group(5)).
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    passwd: Vec<u8>,
    group: Vec<u8>,
}

/// A line of `/etc/passwd`.
struct User<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
    shell: &'a [u8],
}

/// A line of `/etc/group`.
struct Group<'a> {
    name: &'a [u8],
    gid: u32,
    members: &'a [u8],
}

impl Accounts {
    /// Those of the running machine. A file that cannot be read is empty: an
    /// image need not have any.
    pub(crate) fn of_machine() -> Self {
        let read = |path: &str| files::read(Path::new(path)).unwrap_or_default();
        Self {
            passwd: read("/etc/passwd"),
            group: read("/etc/group"),
        }
    }

    /// Whom `user[:group]` means; root when it is empty.
    pub(crate) fn resolve(&self, user: &str) -> Result<Account, UnknownAccount> {
        let (user, group) = user.split_once(':').unwrap_or((user, ""));
        let user = if user.is_empty() { "0" } else { user };
        let known = self.user(user);
        let uid = match &known {
            Some(known) => known.uid,
            None => number(user).ok_or_else(|| UnknownAccount::User(user.to_owned()))?,
        };
        let name = known.as_ref().map(|known| known.name);
        let (gid, groups) = if group.is_empty() {
            let gid = known.as_ref().map_or(0, |known| known.gid);
            (gid, self.groups_of(name.unwrap_or_default()))
        } else {
            (self.group(group)?, Vec::new())
        };
        let shell = known.as_ref().map(|known| known.shell.to_vec());
        let name = name.map(<[u8]>::to_vec);
        let home = known.map_or(&b""[..], |known| known.home);
        Ok(Account {
            identity: Identity {
                uid: Uid::from_raw(uid),
                gid: Gid::from_raw(gid),
                groups: groups.into_iter().map(Gid::from_raw).collect(),
            },
            home: if home.is_empty() { b"/" } else { home }.to_vec(),
            name,
            shell: shell.filter(|shell| !shell.is_empty()),
        })
    }

    fn user(&self, wanted: &str) -> Option<User<'_>> {
        let id = number(wanted);
        lines(&self.passwd)
            .filter_map(User::parse)
            .find(|user| id.map_or(user.name == wanted.as_bytes(), |id| user.uid == id))
    }

    fn group(&self, wanted: &str) -> Result<u32, UnknownAccount> {
        if let Some(id) = number(wanted) {
            return Ok(id);
        }
        lines(&self.group)
            .filter_map(Group::parse)
            .find(|group| group.name == wanted.as_bytes())
            .map(|group| group.gid)
            .ok_or_else(|| UnknownAccount::Group(wanted.to_owned()))
    }

    fn groups_of(&self, user: &[u8]) -> Vec<u32> {
        lines(&self.group)
            .filter_map(Group::parse)
            .filter(|group| !user.is_empty() && group.has(user))
            .map(|group| group.gid)
            .collect()
    }
}

impl<'a> User<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = number_field(fields.nth(1)?)?;
        let gid = number_field(fields.next()?)?;
        let home = fields.nth(1).unwrap_or_default();
        let shell = fields.next().unwrap_or_default();
        Some(Self {
            name,
            uid,
            gid,
            home,
            shell,
        })
    }
}

impl<'a> Group<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = number_field(fields.nth(1)?)?;
        let members = fields.next().unwrap_or_default();
        Some(Self { name, gid, members })
    }

    fn has(&self, user: &[u8]) -> bool {
        let mut members = self.members.split(|byte| *byte == b',');
        members.any(|member| member.trim_ascii() == user)
    }
}

fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = file.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.filter(|line| !line.is_empty() && !line.starts_with(b"#"))
}

fn number_field(field: &[u8]) -> Option<u32> {
    number(str::from_utf8(field).ok()?)
}

/// An id; a sign makes it a name.
fn number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let id = text.parse().ok().filter(|_| digits)?;
    (id <= HIGHEST_ID).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd: b"# people\nroot:x:0:0:root:/root:/bin/sh\n\xff\xfe:x:7:7::/latin:/bin/sh\n\
                broken line\nbad:x:minus:1:::\nann:x:1000:1001:Ann,,,:/home/ann:/bin/sh\n\
                nohome:x:1002:1002:::\n2000:x:1003:1003::/digits:"
                .to_vec(),
            group: b"root:x:0:\nwheel:x:10:root,ann\nann:x:1001:\ndocker:x:998: ann \nempty:x\n"
                .to_vec(),
        }
    }

    fn resolved(user: &str) -> Result<(u32, u32, Vec<u32>, String), UnknownAccount> {
        let account = accounts().resolve(user)?;
        let identity = account.identity;
        let groups = identity.groups.iter().map(|gid| gid.as_raw()).collect();
        let home = String::from_utf8(account.home).unwrap();
        Ok((identity.uid.as_raw(), identity.gid.as_raw(), groups, home))
    }

    #[test]
    fn users_and_groups_are_found_as_engines_find_them() {
        for (user, uid, gid, groups, home) in [
            ("", 0, 0, vec![10], "/root"),
            ("root", 0, 0, vec![10], "/root"),
            ("ann", 1000, 1001, vec![10, 998], "/home/ann"),
            ("1000", 1000, 1001, vec![10, 998], "/home/ann"),
            ("ann:", 1000, 1001, vec![10, 998], "/home/ann"),
            ("ann:wheel", 1000, 10, vec![], "/home/ann"),
            ("ann:4242", 1000, 4242, vec![], "/home/ann"),
            ("4242", 4242, 0, vec![], "/"),
            ("4242:wheel", 4242, 10, vec![], "/"),
            (":wheel", 0, 10, vec![], "/root"),
            ("nohome", 1002, 1002, vec![], "/"),
            ("2000", 2000, 0, vec![], "/"),
            ("7", 7, 7, vec![], "/latin"),
        ] {
            let expected = (uid, gid, groups, home.to_owned());
            assert_eq!(resolved(user), Ok(expected), "{user}");
        }
    }

    #[test]
    fn a_login_shell_is_what_the_file_says() {
        let shell = |user| accounts().resolve(user).unwrap().shell;
        assert_eq!(shell("ann"), Some(b"/bin/sh".to_vec()));
        for user in ["nohome", "2000", "4242"] {
            assert_eq!(shell(user), None, "{user}");
        }
        let name = |user| accounts().resolve(user).unwrap().name;
        assert_eq!(name("1000"), Some(b"ann".to_vec()));
        assert_eq!(name("4242"), None);
    }

    #[test]
    fn names_that_no_file_has_are_unknown() {
        let user = |name: &str| Err(UnknownAccount::User(name.to_owned()));
        let group = |name: &str| Err(UnknownAccount::Group(name.to_owned()));
        assert_eq!(resolved("bob"), user("bob"));
        assert_eq!(resolved("bad"), user("bad"));
        assert_eq!(resolved("-1"), user("-1"));
        assert_eq!(resolved("4294967295"), user("4294967295"));
        assert_eq!(resolved("ann:staff"), group("staff"));
        assert_eq!(resolved("ann:empty"), group("empty"));
        assert_eq!(resolved("ann:wheel:x"), group("wheel:x"));
    }

    #[test]
    fn an_image_without_files_has_root_and_numbers() {
        let none = Accounts::default();
        let root = none.resolve("").unwrap();
        assert_eq!((root.identity.uid, root.home), (Uid::ROOT, b"/".to_vec()));
        assert_eq!(none.resolve("12:34").unwrap().identity.gid.as_raw(), 34);
        assert!(none.resolve("root").is_err());
    }
}

//! What a client asks to run, checked. Pure: no file is looked at.

use std::ffi::CString;

use banger_proto::guest::v1::{ExecStart, TerminalSize};
use bytes::Bytes;

use super::{
    accounts::{Account, Accounts},
    failure::SpawnError,
};
use crate::sys::child::Plan;

/// Where programs are looked up when the environment does not say.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The shell of a user that has none.
const DEFAULT_SHELL: &[u8] = b"/bin/sh";
/// Longest path of Linux, without its end.
const PATH_LIMIT: usize = 4095;

/// A process to be started.
#[derive(Debug)]
pub(super) struct Command {
    /// What the child is given.
    pub(super) plan: Plan,
    /// Its terminal, if it is to have one.
    pub(super) terminal: Option<TerminalSize>,
}

impl Command {
    /// Checks a request and completes its environment: `PATH` and `HOME`, and
    /// `TERM` for a terminal, when they are missing.
    pub(super) fn parse(start: ExecStart, accounts: &Accounts) -> Result<Self, SpawnError> {
        let account = accounts.resolve(&start.user)?;
        let mut environment = Environment::parse(start.env)?;
        environment.complete(b"PATH", DEFAULT_PATH);
        environment.fill(b"HOME", &account.home);
        if start.terminal.is_some() {
            environment.complete(b"TERM", b"xterm");
        }
        let arguments = strings(start.argv, "an argument holds a zero byte")?;
        let directory = &start.working_directory;
        let plan = if start.login_shell {
            login(&account, &arguments, environment, directory)?
        } else {
            program(account, arguments, environment, directory)?
        };
        Ok(Self {
            plan,
            terminal: start.terminal,
        })
    }

    /// The program as it was asked for.
    pub(super) fn program(&self) -> String {
        let name = self.plan.arguments.first();
        name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    /// The working directory.
    pub(super) fn directory(&self) -> String {
        self.plan.working_directory.to_string_lossy().into_owned()
    }
}

fn program(
    account: Account,
    arguments: Vec<CString>,
    environment: Environment,
    directory: &[u8],
) -> Result<Plan, SpawnError> {
    let program = arguments.first().map(CString::as_bytes);
    let program = program
        .filter(|program| !program.is_empty())
        .ok_or_else(|| SpawnError::invalid("no program is named"))?;
    Ok(Plan {
        candidates: candidates(program, environment.get(b"PATH").unwrap_or_default()),
        working_directory: working_directory(directory)?,
        fallback_directory: None,
        identity: account.identity,
        environment: environment.into_strings()?,
        arguments,
    })
}

/// The user's shell, as login(1) runs it: its name begins with `-`, and a home
/// that is not there does not keep the user out.
fn login(
    account: &Account,
    arguments: &[CString],
    mut environment: Environment,
    directory: &[u8],
) -> Result<Plan, SpawnError> {
    if !arguments.is_empty() {
        return Err(SpawnError::invalid("a login shell takes no arguments"));
    }
    let shell = account.shell.as_deref().unwrap_or(DEFAULT_SHELL);
    let name = shell.rsplit(|byte| *byte == b'/').next().unwrap_or(shell);
    environment.complete(b"SHELL", shell);
    if let Some(user) = &account.name {
        environment.complete(b"USER", user);
        environment.complete(b"LOGNAME", user);
    }
    let is_home = directory.is_empty() && account.home.starts_with(b"/");
    let directory = if is_home { &account.home } else { directory };
    Ok(Plan {
        candidates: [shell, DEFAULT_SHELL]
            .into_iter()
            .filter_map(|shell| CString::new(shell).ok())
            .collect(),
        arguments: strings(
            vec![[b"-", name].concat().into()],
            "the shell holds a zero byte",
        )?,
        environment: environment.into_strings()?,
        working_directory: working_directory(directory)?,
        fallback_directory: is_home.then(|| c"/".to_owned()),
        identity: account.identity.clone(),
    })
}

/// The variables in the order they were given; a later value of one wins.
struct Environment(Vec<Bytes>);

impl Environment {
    fn parse(variables: Vec<Bytes>) -> Result<Self, SpawnError> {
        let mut environment = Self(Vec::with_capacity(variables.len() + 3));
        for variable in variables {
            let key = key(&variable)
                .ok_or_else(|| SpawnError::invalid("an environment entry is not KEY=VALUE"))?;
            let key = variable.slice_ref(key);
            environment.set(&key, variable);
        }
        Ok(environment)
    }

    fn get(&self, wanted: &[u8]) -> Option<&[u8]> {
        let variable = self.0.iter().find(|one| key(one) == Some(wanted))?;
        variable.get(wanted.len() + 1..)
    }

    fn set(&mut self, name: &[u8], variable: Bytes) {
        match self.0.iter_mut().find(|one| key(one) == Some(name)) {
            Some(place) => *place = variable,
            None => self.0.push(variable),
        }
    }

    /// Sets a variable that is not there.
    fn complete(&mut self, name: &[u8], value: &[u8]) {
        if self.get(name).is_none() {
            self.set(name, [name, value].join(&b'=').into());
        }
    }

    /// Sets a variable that is not there or empty.
    fn fill(&mut self, name: &[u8], value: &[u8]) {
        if self.get(name).is_none_or(<[u8]>::is_empty) {
            self.set(name, [name, value].join(&b'=').into());
        }
    }

    fn into_strings(self) -> Result<Vec<CString>, SpawnError> {
        strings(self.0, "an environment entry holds a zero byte")
    }
}

/// What stands before the first `=`, which must be something.
fn key(variable: &[u8]) -> Option<&[u8]> {
    let end = variable.iter().position(|byte| *byte == b'=')?;
    variable.get(..end).filter(|key| !key.is_empty())
}

fn strings(list: Vec<Bytes>, complaint: &str) -> Result<Vec<CString>, SpawnError> {
    let each = list.into_iter().map(|bytes| CString::new(bytes.to_vec()));
    each.collect::<Result<_, _>>()
        .map_err(|_| SpawnError::invalid(complaint))
}

fn working_directory(directory: &[u8]) -> Result<CString, SpawnError> {
    match directory {
        [] => Ok(c"/".to_owned()),
        [b'/', ..] => CString::new(directory)
            .map_err(|_| SpawnError::invalid("the working directory holds a zero byte")),
        _ => Err(SpawnError::invalid("the working directory is not absolute")),
    }
}

/// A name with a slash is a path; any other is looked up in each directory of
/// the path, an empty one being the working directory (POSIX, `PATH`).
fn candidates(program: &[u8], path: &[u8]) -> Vec<CString> {
    if program.contains(&b'/') {
        return CString::new(program).into_iter().collect();
    }
    path.split(|byte| *byte == b':')
        .map(|directory| {
            if directory.is_empty() {
                b"."
            } else {
                directory
            }
        })
        .map(|directory| [directory, program].join(&b'/'))
        .filter(|candidate| candidate.len() <= PATH_LIMIT)
        .filter_map(|candidate| CString::new(candidate).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use banger_proto::guest::v1::SpawnFailure;

    use super::*;

    fn request(argv: &[&'static str], env: &[&'static str]) -> ExecStart {
        ExecStart {
            argv: argv.iter().copied().map(Bytes::from).collect(),
            env: env.iter().copied().map(Bytes::from).collect(),
            ..ExecStart::default()
        }
    }

    fn parse(start: ExecStart) -> Result<Command, SpawnError> {
        Command::parse(start, &Accounts::default())
    }

    fn texts(strings: &[CString]) -> Vec<&str> {
        strings.iter().map(|one| one.to_str().unwrap()).collect()
    }

    #[test]
    fn the_environment_is_completed_and_the_last_value_wins() {
        let command = parse(request(
            &["true"],
            &["A=1", "HOME=", "A=2=3", "PATH=/x::/y"],
        ))
        .unwrap();
        assert_eq!(
            texts(&command.plan.environment),
            ["A=2=3", "HOME=/", "PATH=/x::/y"]
        );
        assert_eq!(
            texts(&command.plan.candidates),
            ["/x/true", "./true", "/y/true"]
        );
        let mut start = request(&["true"], &[]);
        start.terminal = Some(TerminalSize::default());
        let command = parse(start).unwrap();
        let path = format!("PATH={}", str::from_utf8(DEFAULT_PATH).unwrap());
        assert_eq!(
            texts(&command.plan.environment),
            [path.as_str(), "HOME=/", "TERM=xterm"]
        );
    }

    #[test]
    fn a_login_shell_is_the_users() {
        let start = ExecStart {
            login_shell: true,
            ..request(&[], &[])
        };
        let plan = parse(start.clone()).unwrap().plan;
        assert_eq!(texts(&plan.candidates), ["/bin/sh"; 2]);
        assert_eq!(texts(&plan.arguments), ["-sh"]);
        assert_eq!(plan.working_directory, c"/".to_owned());
        let account = Account {
            shell: Some(b"/usr/bin/fish".to_vec()),
            home: b"/home/ann".to_vec(),
            name: Some(b"ann".to_vec()),
            ..Accounts::default().resolve("").unwrap()
        };
        let environment = || Environment(vec![Bytes::from("USER=else")]);
        let plan = login(&account, &[], environment(), b"").unwrap();
        assert_eq!(texts(&plan.candidates), ["/usr/bin/fish", "/bin/sh"]);
        assert_eq!(texts(&plan.arguments), ["-fish"]);
        assert_eq!(
            texts(&plan.environment),
            ["USER=else", "SHELL=/usr/bin/fish", "LOGNAME=ann"]
        );
        assert_eq!(plan.working_directory, c"/home/ann".to_owned());
        assert_eq!(plan.fallback_directory, Some(c"/".to_owned()));
        let plan = login(&account, &[], environment(), b"/srv").unwrap();
        assert_eq!(plan.fallback_directory, None);
        let start = ExecStart {
            argv: vec![Bytes::from("sh")],
            ..start
        };
        parse(start).unwrap_err();
    }

    #[test]
    fn a_name_with_a_slash_is_not_looked_up() {
        for name in ["./a", "/bin/a", "a/b"] {
            let command = parse(request(&[name], &[])).unwrap();
            assert_eq!(texts(&command.plan.candidates), [name]);
        }
    }

    #[test]
    fn requests_without_sense_are_refused() {
        let relative = ExecStart {
            working_directory: Bytes::from("home"),
            ..request(&["true"], &[])
        };
        for start in [
            request(&[], &[]),
            request(&[""], &[]),
            request(&["a\0b"], &[]),
            request(&["true"], &["A"]),
            request(&["true"], &["=A"]),
            request(&["true"], &["A=\0"]),
            relative,
        ] {
            let refusal = parse(start.clone()).unwrap_err();
            assert_eq!(refusal.kind(), SpawnFailure::InvalidRequest, "{start:?}");
        }
    }

    #[test]
    fn a_long_path_is_no_candidate() {
        let path = format!("{}:/bin", "x".repeat(PATH_LIMIT));
        assert_eq!(candidates(b"a", path.as_bytes()), [c"/bin/a".to_owned()]);
    }
}

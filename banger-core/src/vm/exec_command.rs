//! What a request and an image's configuration say together. Pure.

use banger_proto::guest::v1::ExecStart;

use super::{ExecError, ExecRequest, exec_wire::wire_size};
use crate::domain::RunConfig;

/// Where programs are looked up when neither image nor request says.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What a terminal is when neither image nor request says.
const DEFAULT_TERMINAL: &str = "TERM=xterm";

/// The process to start.
pub(super) fn exec_start(image: &RunConfig, request: &ExecRequest) -> Result<ExecStart, ExecError> {
    let env = environment(image, request);
    let argv = if request.login_shell {
        Vec::new()
    } else if request.argv.is_empty() {
        [image.entrypoint.as_slice(), image.cmd.as_slice()].concat()
    } else {
        request.argv.clone()
    };
    if argv.is_empty() && !request.login_shell {
        return Err(ExecError::NoCommand);
    }
    let working_directory = match &request.working_directory {
        Some(directory) => directory.clone(),
        // its home, which the guest knows
        None if request.login_shell => String::new(),
        None => image.working_directory.clone(),
    };
    Ok(ExecStart {
        argv: argv.into_iter().map(Into::into).collect(),
        env: env.into_iter().map(Into::into).collect(),
        working_directory: working_directory.into(),
        user: request.user.clone().unwrap_or_else(|| image.user.clone()),
        terminal: request.terminal.map(wire_size),
        login_shell: request.login_shell,
    })
}

/// Defaults, then the image's, then the request's; the last of a key wins.
fn environment(image: &RunConfig, request: &ExecRequest) -> Vec<String> {
    let terminal = request.terminal.map(|_| DEFAULT_TERMINAL);
    let defaults = [DEFAULT_PATH].into_iter().chain(terminal);
    let given = image.env.iter().chain(&request.env).map(String::as_str);
    let mut merged: Vec<&str> = Vec::new();
    for entry in defaults.chain(given) {
        match merged.iter_mut().find(|other| key(other) == key(entry)) {
            Some(other) => *other = entry,
            None => merged.push(entry),
        }
    }
    merged.into_iter().map(str::to_owned).collect()
}

fn key(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(key, _)| key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::TerminalSize;

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    fn image() -> RunConfig {
        RunConfig {
            entrypoint: strings(&["/entry"]),
            cmd: strings(&["one", "two"]),
            env: strings(&["A=image", "B=image"]),
            user: "app".to_owned(),
            working_directory: "/srv".to_owned(),
            ..RunConfig::default()
        }
    }

    #[test]
    fn the_image_answers_what_the_request_leaves_open() {
        let start = exec_start(&image(), &ExecRequest::default()).unwrap();
        assert_eq!(start.argv, ["/entry", "one", "two"]);
        assert_eq!(
            (start.user.as_str(), start.working_directory),
            ("app", "/srv".into())
        );
        assert_eq!(start.env[0], DEFAULT_PATH.as_bytes());
        assert_eq!(start.terminal, None);
    }

    #[test]
    fn the_request_wins_and_keys_come_once() {
        let request = ExecRequest {
            argv: strings(&["sh"]),
            env: strings(&["B=mine", "PATH=/bin", "C=", "B=last=one"]),
            working_directory: Some(String::new()),
            user: Some("0:0".to_owned()),
            terminal: Some(TerminalSize {
                rows: 24,
                columns: 80,
            }),
            ..ExecRequest::default()
        };
        let start = exec_start(&image(), &request).unwrap();
        let env: Vec<String> = start
            .env
            .iter()
            .map(|entry| String::from_utf8(entry.to_vec()).unwrap())
            .collect();
        assert_eq!(
            env,
            ["PATH=/bin", "TERM=xterm", "A=image", "B=last=one", "C="]
        );
        assert_eq!(start.argv, ["sh"]);
        assert_eq!(
            (start.user.as_str(), start.working_directory.len()),
            ("0:0", 0)
        );
        assert_eq!(
            start.terminal.map(|size| (size.rows, size.columns)),
            Some((24, 80))
        );
    }

    #[test]
    fn a_login_shell_needs_no_command_and_starts_at_home() {
        let shell = ExecRequest {
            login_shell: true,
            ..ExecRequest::default()
        };
        let start = exec_start(&image(), &shell).unwrap();
        assert!(start.login_shell && start.argv.is_empty());
        assert!(start.working_directory.is_empty());
        assert_eq!(start.user, "app");
    }

    #[test]
    fn nothing_to_run_is_an_error() {
        let none = exec_start(&RunConfig::default(), &ExecRequest::default());
        assert!(matches!(none, Err(ExecError::NoCommand)));
    }
}

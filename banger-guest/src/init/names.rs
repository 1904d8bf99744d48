//! The machine's name.
//!
//! The kernel is told always. On an overlay, where nothing of the image is
//! changed, `/etc/hostname` is set and `/etc/hosts` gets lines for `localhost`
//! and the name if it lacks them, as container engines do; a plain root disk is
//! the user's own and stays as it is. Failing to write them is said, no more.

use std::{fs, io, path::Path};

use super::{boot_config::Config, stage::Cause};
use crate::{console, files};

const HOSTS: &str = "/etc/hosts";
const HOSTNAME: &str = "/etc/hostname";

/// Names the machine.
pub(super) fn apply(config: &Config) -> Result<(), Cause> {
    let name = &config.hostname;
    rustix::system::sethostname(name.as_bytes()).map_err(Cause::of("set the host name", name))?;
    if config.has_overlay() {
        for (file, outcome) in [(HOSTNAME, write_name(name)), (HOSTS, complete_hosts(name))] {
            if let Err(error) = outcome {
                console::line(Cause::of("write", file)(error));
            }
        }
    }
    Ok(())
}

fn write_name(name: &str) -> io::Result<()> {
    fs::create_dir_all("/etc")?;
    fs::write(HOSTNAME, format!("{name}\n"))
}

fn complete_hosts(name: &str) -> io::Result<()> {
    let hosts = match files::read(Path::new(HOSTS)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        hosts => hosts.unwrap_or_default(),
    };
    let additions = missing_lines(&hosts, name);
    if additions.is_empty() {
        return Ok(());
    }
    fs::write(HOSTS, [hosts, additions.into_bytes()].concat())
}

/// The lines that hosts(5) lacks, to be put at its end.
fn missing_lines(hosts: &[u8], name: &str) -> String {
    let mut lines = String::new();
    if !names(hosts, "localhost") {
        lines.push_str("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    }
    if name != "localhost" && !names(hosts, name) {
        lines.extend(["127.0.1.1\t", name, "\n"]);
    }
    if !lines.is_empty() && hosts.last().is_some_and(|byte| *byte != b'\n') {
        lines.insert(0, '\n');
    }
    lines
}

fn names(hosts: &[u8], name: &str) -> bool {
    hosts.split(|byte| *byte == b'\n').any(|line| {
        let content = line.split(|byte| *byte == b'#').next().unwrap_or_default();
        let words = content.split(u8::is_ascii_whitespace);
        let mut words = words.filter(|word| !word.is_empty());
        words.next().is_some() && words.any(|word| word.eq_ignore_ascii_case(name.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCALHOST: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

    #[test]
    fn an_empty_file_gets_localhost_and_the_name() {
        let expected = format!("{LOCALHOST}127.0.1.1\tbox\n");
        assert_eq!(missing_lines(b"", "box"), expected);
        assert_eq!(missing_lines(expected.as_bytes(), "box"), "");
        assert_eq!(missing_lines(b"", "localhost"), LOCALHOST);
    }

    #[test]
    fn only_what_is_missing_is_added() {
        let hosts = b"127.0.0.1 localhost # box\n10.0.0.1 boxes other.box";
        assert_eq!(missing_lines(hosts, "box"), "\n127.0.1.1\tbox\n");
        assert_eq!(missing_lines(b"10.0.0.1 BOX\n", "box"), LOCALHOST);
        assert_eq!(
            missing_lines(b"box\n#1.1.1.1 box\n", "box").lines().count(),
            3
        );
    }
}

//! The machine that measures: numbers mean nothing without.

use std::{fs, path::Path, thread};

use crate::{
    Result,
    paths::workspace,
    run::{capture, command},
};

/// Processor, cores and kernel.
pub(super) fn machine() -> Result<String> {
    let kernel = capture(command("uname", workspace()).arg("-r"))?;
    let text = fs::read_to_string(Path::new("/proc/cpuinfo")).unwrap_or_default();
    let model = processor(&text).unwrap_or("an unknown processor");
    Ok(format!(
        "{model}, {} cores, Linux {}",
        cores(),
        kernel.trim()
    ))
}

pub(super) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// What other work makes of it: the load averages of 1, 5 and 15 minutes.
pub(super) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let averages: Vec<&str> = text.split_whitespace().take(3).collect();
    averages.join(" ")
}

fn processor(text: &str) -> Option<&str> {
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, model)| model.trim())
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn the_processor_is_named() {
        let text = "processor\t: 0\nmodel name\t: A B\n";
        assert_eq!(processor(text), Some("A B"));
        assert_eq!(processor(""), None);
    }
}

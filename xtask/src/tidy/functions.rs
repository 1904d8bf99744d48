//! The length of functions, counted in formatted code.
//!
//! A function starts at a line with `fn` that opens a block and ends at the
//! closing brace of the same indent. Tests are not counted.

use super::Tracked;
use crate::run::say;

/// Most lines of any body.
const MAX_LINES: usize = 100;
/// Nine of ten bodies are at most this long.
const MAX_NINTH_DECILE: usize = 30;
/// Half of all bodies are at most this long.
const MAX_MEDIAN: usize = 8;

struct Function {
    place: String,
    lines: usize,
}

pub(super) fn problems(files: &[Tracked]) -> Vec<String> {
    let production = |file: &&Tracked| file.is_rust() && !file.path.contains("/tests");
    let functions: Vec<Function> = files
        .iter()
        .filter(production)
        .flat_map(functions)
        .collect();
    let long = functions
        .iter()
        .filter(|function| MAX_LINES < function.lines);
    let mut problems: Vec<String> = long
        .map(|function| format!("{}: a function of {} lines", function.place, function.lines))
        .collect();
    let mut lengths: Vec<usize> = functions.iter().map(|function| function.lines).collect();
    lengths.sort_unstable();
    say(&format!(
        "{} functions, half of them of up to {} lines, nine of ten of up to {}",
        lengths.len(),
        quantile(&lengths, 50),
        quantile(&lengths, 90)
    ));
    problems.extend(quantile_problem(&lengths, 50, MAX_MEDIAN));
    problems.extend(quantile_problem(&lengths, 90, MAX_NINTH_DECILE));
    problems
}

fn quantile(sorted: &[usize], percent: usize) -> usize {
    let index = sorted.len() * percent / 100;
    sorted.get(index).copied().unwrap_or_default()
}

fn quantile_problem(sorted: &[usize], percent: usize, most: usize) -> Option<String> {
    let found = quantile(sorted, percent);
    (most < found)
        .then(|| format!("{percent} % of all functions have up to {found} lines, more than {most}"))
}

fn functions(file: &Tracked) -> Vec<Function> {
    let lines: Vec<&str> = file
        .text
        .lines()
        .take_while(|line| line.trim() != "#[cfg(test)]")
        .collect();
    let mut found = Vec::new();
    for (index, line) in lines
        .iter()
        .enumerate()
        .filter(|(_, line)| starts_function(line))
    {
        let indent = line.len() - line.trim_start().len();
        let closes = |line: &&str| {
            line.len() - line.trim_start().len() == indent && line.trim_start().starts_with('}')
        };
        let opens = lines[index..].iter().position(|line| line.ends_with('{'));
        let ends = lines[index..].iter().position(closes);
        if let (Some(opens), Some(ends)) = (opens, ends) {
            let place = format!("{}:{}", file.path, index + 1);
            found.push(Function {
                place,
                lines: ends.saturating_sub(opens + 1),
            });
        }
    }
    found
}

fn starts_function(line: &str) -> bool {
    let words = line.split_whitespace().take_while(|word| *word != "fn");
    let modifier = |word: &str| {
        word.starts_with("pub")
            || matches!(
                word,
                "const" | "async" | "unsafe" | "extern" | "in" | "super)" | "\"C\""
            )
    };
    line.contains("fn ") && !line.trim_end().ends_with(';') && words.clone().all(modifier)
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn bodies_are_counted_without_signature_and_brace() {
        let text =
            "pub(crate) fn one(\n    a: u8,\n) -> u8 {\n    a\n}\nfn two() {}\nlet fn_like = 1;\n"
                .to_owned();
        let file = Tracked {
            path: "src/a.rs".to_owned(),
            text,
        };
        let lengths: Vec<usize> = functions(&file)
            .iter()
            .map(|function| function.lines)
            .collect();
        assert_eq!(lengths, [1]);
    }
}

//! Columns and key-value lines, as wide as their content.

use crate::error::one_line;

/// A table with a head; columns are two spaces apart, the last is not padded.
#[must_use]
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let safe = |row: &Vec<String>| row.iter().map(|cell| one_line(cell)).collect();
    let rows: Vec<Vec<String>> = std::iter::once(&head).chain(rows).map(safe).collect();
    let widths = widths(&rows);
    rows.iter().map(|row| line(row, &widths)).collect()
}

/// Lines of a key and a value.
#[must_use]
pub fn details(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(key, _)| key.len()).max().unwrap_or(0) + 1;
    let line = |(key, value): &(&str, String)| {
        let key = format!("{key}:");
        format!(
            "{}\n",
            format!("{key:width$} {}", one_line(value)).trim_end()
        )
    };
    pairs.iter().map(line).collect()
}

fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    (0..columns).map(width).collect()
}

fn line(row: &[String], widths: &[usize]) -> String {
    let cells: Vec<String> = row
        .iter()
        .zip(widths)
        .map(|(cell, width)| format!("{cell:width$}"))
        .collect();
    format!("{}\n", cells.join("  ").trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_moves_the_cursor() {
        let rows = vec![
            vec!["a".to_owned(), "1".to_owned()],
            vec!["long\u{1b}[1m".to_owned(), String::new()],
        ];
        assert_eq!(
            table(&["NAME", "N"], &rows),
            "NAME      N\na         1\nlong [1m\n"
        );
        let pairs = [
            ("name", "x".to_owned()),
            ("size", "1\n2".to_owned()),
            ("none", String::new()),
        ];
        assert_eq!(details(&pairs), "name: x\nsize: 1 2\nnone:\n");
    }
}

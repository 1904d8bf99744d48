//! Prints `docs/cli-reference.md`.

use std::io::Write as _;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(banger_cli::args::reference().as_bytes())
}

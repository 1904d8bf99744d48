//! The `banger` program. All of it is in the library.

fn main() -> std::process::ExitCode {
    banger_cli::main()
}

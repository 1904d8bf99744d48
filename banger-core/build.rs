//! Rebuilds the library when a migration is added: the macro that embeds the
//! folder does not see new files by itself.

fn main() {
    #[expect(clippy::print_stdout, reason = "how a build script speaks to cargo")]
    {
        println!("cargo:rerun-if-changed=migrations");
    }
}

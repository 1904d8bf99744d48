//! Rebuilds the library when a migration is added: the macro that embeds the
//! folder does not see new files by itself.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}

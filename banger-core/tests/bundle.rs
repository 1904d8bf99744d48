//! Bundles and catalogs over real services, with tools we did not write: GNU
//! tar and zstd read bundles, minisign signs, an HTTP server breaks off, docker-registry
//! keeps artifacts.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failing step is a failing test"
)]

mod bundle {
    mod artifacts;
    mod catalogs;
    #[path = "../oci/certificates.rs"]
    mod certificates;
    mod damage;
    mod host;
    mod images;
    mod kernels;
    mod policy;
    #[path = "../oci/registry_program.rs"]
    mod registry_program;
    mod server;
    mod urls;
}

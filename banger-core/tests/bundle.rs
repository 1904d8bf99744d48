//! Bundles and catalogs over real services, with tools we did not write: GNU
//! tar and zstd read bundles, minisign signs, an HTTP server breaks off.

#![expect(clippy::unwrap_used, reason = "a failing step is a failing test")]

mod bundle {
    mod catalogs;
    mod damage;
    mod host;
    mod images;
    mod kernels;
    mod policy;
    mod server;
    mod urls;
}

//! Who may be spoken to, and who may be told a secret.
//!
//! Pure. A registry may send us elsewhere: to a token service, or by a
//! redirect to where its blobs lie. It must not be able to make us speak in
//! the clear when we would not with itself, nor to reach services of this
//! machine that it could not reach.

use std::net::IpAddr;

use reqwest::Url;

use super::super::credentials::canonical_host;

/// Whether the host part of `host[:port]` is this machine itself.
pub(super) fn is_loopback(host: &str) -> bool {
    if let Ok(address) = host.parse::<std::net::SocketAddr>() {
        return address.ip().is_loopback();
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let address = host.parse::<IpAddr>().or_else(|_| name.parse());
    name == "localhost" || host == "[::1]" || address.is_ok_and(|address| address.is_loopback())
}

/// The same of a URL.
fn is_home(url: &Url) -> bool {
    url.host_str().is_some_and(is_loopback)
}

/// Whether a URL could lead to this machine itself: other ways to write that,
/// too.
fn may_be_home(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_matches(['[', ']']).trim_end_matches('.');
    match bare.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(address) => address.is_loopback() || address.is_unspecified(),
        Err(_) => bare == "localhost" || bare.ends_with(".localhost"),
    }
}

fn is_secure(url: &Url) -> bool {
    url.scheme() == "https"
}

/// What the host and port of a URL may be called where registries are named.
pub(super) fn names_of(url: &Url) -> Vec<String> {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    let with_port = format!("{host}:{port}");
    if url.port().is_some() {
        return vec![with_port];
    }
    vec![host.to_owned(), canonical_host(host).to_owned(), with_port]
}

/// Whether two URLs have scheme, host and port in common.
pub(super) fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host_str() == other.host_str()
        && one.port_or_known_default() == other.port_or_known_default()
}

/// Whether `from` may send us to `to`.
pub(super) fn may_lead(from: &Url, to: &Url) -> Result<(), &'static str> {
    if !matches!(to.scheme(), "http" | "https") {
        Err("which is neither HTTP nor HTTPS")
    } else if may_be_home(to) && !is_home(from) {
        Err("which is this machine itself")
    } else if is_secure(from) && !is_secure(to) {
        Err("which is not HTTPS")
    } else {
        Ok(())
    }
}

/// Whether a secret for `registry` may be told to the token service at
/// `realm`. Only a challenge that came by HTTPS, or from this machine, is
/// trusted to name another host.
pub(super) fn may_tell(registry: &Url, realm: &Url) -> Result<(), &'static str> {
    may_lead(registry, realm)?;
    let trusted = is_secure(registry) || is_home(registry);
    if !is_secure(realm) && !is_home(realm) {
        Err("which is not HTTPS")
    } else if !trusted && registry.host_str() != realm.host_str() {
        Err("which is another host, and nothing proves that it is the registry's own word")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for registry in [
            "localhost",
            "localhost:5000",
            "127.0.0.1",
            "127.1.2.3:80",
            "[::1]:5000",
            "[::1]",
        ] {
            assert!(is_loopback(registry), "{registry}");
        }
        for registry in [
            "docker.io",
            "10.0.0.1:5000",
            "localhost.example",
            "[fe80::1]:5000",
        ] {
            assert!(!is_loopback(registry), "{registry}");
        }
    }

    #[test]
    fn nobody_is_led_into_the_clear_or_home() {
        let cases = [
            ("https://r.example", "https://cdn.example/x", true),
            ("https://r.example", "http://cdn.example/x", false),
            ("https://r.example", "http://127.0.0.1/x", false),
            ("https://r.example", "https://localhost/x", false),
            ("https://r.example", "https://localhost./x", false),
            ("https://r.example", "https://a.localhost/x", false),
            ("https://r.example", "https://0x7f.1/x", false),
            ("https://r.example", "https://0.0.0.0/x", false),
            ("https://r.example", "https://[::1]/x", false),
            ("https://r.example", "https://[::ffff:127.0.0.1]/x", false),
            ("https://r.example", "https://[2001:db8::1]/x", true),
            ("https://r.example", "ftp://cdn.example/x", false),
            ("http://127.0.0.1:5000", "http://127.0.0.1:6000/x", true),
            ("http://plain.example", "http://cdn.example/x", true),
        ];
        for (from, to, expected) in cases {
            let allowed = may_lead(&url(from), &url(to)).is_ok();
            assert_eq!(allowed, expected, "{from} {to}");
        }
    }

    #[test]
    fn secrets_are_told_by_https_or_at_home() {
        let cases = [
            ("https://r.example", "https://auth.example/token", true),
            ("https://r.example", "http://r.example/token", false),
            ("https://r.example", "http://localhost/token", false),
            ("http://localhost:5000", "http://127.0.0.1:5001/token", true),
            ("http://localhost:5000", "http://r.example/token", false),
            ("http://localhost:5000", "https://auth.example/token", true),
            ("http://plain.example", "http://plain.example/token", false),
            ("http://plain.example", "https://plain.example/token", true),
            ("http://plain.example", "https://auth.example/token", false),
        ];
        for (registry, realm, expected) in cases {
            let allowed = may_tell(&url(registry), &url(realm)).is_ok();
            assert_eq!(allowed, expected, "{registry} {realm}");
        }
    }

    #[test]
    fn origins_are_scheme_host_and_port() {
        assert!(same_origin(&url("https://a/x"), &url("https://a:443/y")));
        assert!(!same_origin(&url("https://a/x"), &url("http://a/x")));
        assert!(!same_origin(&url("http://a/x"), &url("http://a:81/x")));
        assert_eq!(names_of(&url("http://a:81/x")), ["a:81"]);
        assert_eq!(names_of(&url("https://a:443/x")), ["a", "a", "a:443"]);
        let hub = names_of(&url("https://index.docker.io/v2/"));
        assert!(hub.contains(&"docker.io".to_owned()), "{hub:?}");
    }
}

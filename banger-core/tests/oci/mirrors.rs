//! Mirrors before the registry, and proxies on the way to it.

use banger_core::{
    ErrorKind,
    oci::{HostOptions, RegistryCredentials},
};
use http::{StatusCode, header};

use super::{
    content::{Content, LAYER, Shape},
    customer::Customer,
    peer::{ANN, Asked, Body, Peer, challenge, json, whole},
};

fn content() -> Content {
    Content::new(Shape::Index)
}

/// What a mirror answers to a path, where that is wrong.
type Wrong = Box<dyn Fn(&str) -> Option<http::Response<Body>> + Send + Sync>;

/// A customer of `origin` who knows these mirrors.
fn customer(origin: &str, mirrors: &[String]) -> Customer {
    let mut customer = Customer::of_registry(origin);
    let mirrors = mirrors.iter().map(|mirror| mirror.parse().unwrap());
    let special = HostOptions {
        mirrors: mirrors.collect(),
        ca_file: None,
    };
    let hosts = &mut customer.options.registries.hosts;
    hosts.insert(origin.to_owned(), special);
    customer
}

#[tokio::test]
async fn a_mirror_spares_its_origin() {
    let mirror = Peer::open(content()).await;
    let prefixed = format!("{}/copy/of", mirror.host);
    let customer = customer("origin.invalid", &[prefixed]);
    customer.pull().await.unwrap();
    assert_eq!(
        mirror.count("/v2/copy/of/test/image/"),
        mirror.asked().len() - 1
    );
}

#[tokio::test]
async fn whatever_a_mirror_does_wrong_the_next_place_makes_good() {
    let layer = Content::layer_digest().to_string();
    let wrong_layer = move |path: &str| {
        path.ends_with(&layer)
            .then(|| whole(StatusCode::OK, "x/y", vec![8; LAYER.len()]))
    };
    let status = |code| move |_: &str| Some(json(StatusCode::from_u16(code).unwrap(), ""));
    let wrongs: [(&str, Wrong); 5] = [
        ("wrong layer", Box::new(wrong_layer)),
        ("missing", Box::new(status(404))),
        ("forbidden", Box::new(status(403))),
        ("failing", Box::new(status(500))),
        (
            "huge",
            Box::new(|path| {
                path.contains("manifests")
                    .then(|| whole(StatusCode::OK, "x/y", vec![b' '; 5 << 20]))
            }),
        ),
    ];
    for (name, wrong) in wrongs {
        let good = content();
        let mirror = Peer::start(move |asked, _| {
            wrong(&asked.path).unwrap_or_else(|| good.answer(&asked.path))
        })
        .await;
        let origin = Peer::open(content()).await;
        let customer = customer(&origin.host, std::slice::from_ref(&mirror.host));
        let pulled = customer.pull().await;
        pulled.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!mirror.asked().is_empty(), "{name}");
        assert!(!origin.asked().is_empty(), "{name}");
    }
}

#[tokio::test]
async fn mirrors_are_asked_in_their_order_and_dead_ones_left_alone() {
    let dead = Peer::start(|_, _| json(StatusCode::BAD_GATEWAY, "")).await;
    let second = Peer::open(content()).await;
    let third = Peer::open(content()).await;
    let hosts = [&dead, &second, &third].map(|peer| peer.host.clone());
    customer("origin.invalid", &hosts).pull().await.unwrap();
    // the first attempt and its only repetition
    assert_eq!(dead.asked().len(), 2);
    assert!(!second.asked().is_empty());
    assert!(third.asked().is_empty());
}

#[tokio::test]
async fn the_error_that_is_told_is_the_origins() {
    let mirror = Peer::start(|_, _| json(StatusCode::BAD_GATEWAY, "")).await;
    let origin = Peer::start(|_, _| json(StatusCode::NOT_FOUND, "")).await;
    let customer = customer(&origin.host, std::slice::from_ref(&mirror.host));
    let error = customer.pull().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test]
async fn a_mirror_is_not_told_the_secrets_of_its_origin() {
    let mirror = Peer::start(|_, _| challenge("Basic realm=\"mirror\"")).await;
    let good = content();
    let origin = Peer::start(move |asked, _| match asked.authorization() {
        Some(ANN) => good.answer(&asked.path),
        _ => challenge("Basic realm=\"origin\""),
    })
    .await;
    let mut customer = customer(&origin.host, std::slice::from_ref(&mirror.host));
    customer.sign_in("s3cret");
    customer.pull().await.unwrap();
    assert!(
        mirror
            .asked()
            .iter()
            .all(|asked| asked.authorization().is_none())
    );
    // a mirror's own are its own
    let given = &mut customer.options.registries.credentials.given;
    given.push(RegistryCredentials {
        registry: mirror.host.clone(),
        user: "m".into(),
        secret: "m".into(),
    });
    customer.pull().await.unwrap();
    let used = |asked: &Asked| asked.authorization() == Some("Basic bTpt");
    assert!(mirror.asked().iter().any(used));
}

#[tokio::test]
async fn a_proxy_is_used_for_others_but_never_for_this_machine() {
    let good = content();
    let proxy = Peer::start(move |asked, _| good.answer(&asked.path)).await;
    let mut through = Customer::of_registry("registry.invalid");
    let url = format!("http://pat:pr0xy@{}", proxy.host);
    through.options.registries.plain_http = vec!["registry.invalid".into()];
    through.options.registries.proxies.http = Some(url.clone());
    through.pull().await.unwrap();
    let asked = proxy.asked();
    assert_eq!(asked[0].target, "http://registry.invalid/v2/");
    let shown = asked[0].header(header::PROXY_AUTHORIZATION);
    assert_eq!(shown, Some("Basic cGF0OnByMHh5"));

    let mut direct = through;
    direct.options.directories.cache = direct.root().join("other");
    direct.options.registries.proxies.no_proxy = "registry.invalid".into();
    let error = direct.pull().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(!format!("{error:?}").contains("pr0xy"), "{error:?}");

    let here = Peer::open(content()).await;
    let mut local = Customer::of(&here);
    local.options.registries.proxies.http = Some(url);
    local.pull().await.unwrap();
    assert_eq!(proxy.asked().len(), asked.len());
}

#[tokio::test]
async fn a_proxy_that_is_none_is_named_without_its_password() {
    for url in [
        "socks5://pat:pr0xy@127.0.0.1:1",
        "pat:pr0xy@127.0.0.1",
        "http://pat:pr0xy@",
    ] {
        let mut customer = Customer::of_registry("registry.invalid");
        customer.options.registries.proxies.https = Some(url.into());
        let error = customer.pull().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(!format!("{error:?}").contains("pr0xy"), "{error:?}");
    }
}

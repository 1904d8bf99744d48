//! What a policy asks of bundles and kernels is asked before they are kept.

use banger_core::{
    ErrorKind,
    catalog::SupplyOptions,
    domain::{Verdict, Vouched},
    kernel::KernelSource,
    progress::NoProgress,
    trust::{MinisignKey, Pattern, Policy, Requirement, Rule, Rules},
};

use super::{
    host::{Host, key_pair, sign},
    kernels::kernel_bundle,
};

fn rules(pattern: &str, requirement: Requirement) -> Rules {
    Rules {
        rules: vec![Rule {
            pattern: Pattern::new(pattern),
            requirement,
        }],
        default: Requirement::Refuse,
    }
}

async fn host(images: Option<Rules>, kernels: Option<Rules>) -> Host {
    Host::with(SupplyOptions {
        policy: Policy { images, kernels },
        ..SupplyOptions::default()
    })
    .await
}

#[tokio::test]
async fn a_bundle_is_signed_as_the_policy_asks_or_refused() {
    let maker = Host::new().await;
    let (bundle, written) = maker.bundle("golden.tar.zst", true).await;
    let key = key_pair(&maker.root, "ours");
    key_pair(&maker.root, "theirs");
    let minisign = Requirement::Minisign(MinisignKey::parse(&key).unwrap());
    let host = host(Some(rules("file:*", minisign)), None).await;
    let reference = format!("file:{bundle}");
    let missing = host.load(&reference).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::PermissionDenied, "{missing:?}");
    sign(&maker.root, "theirs", &bundle);
    let foreign = host.load(&reference).await.unwrap_err();
    assert_eq!(foreign.kind(), ErrorKind::PermissionDenied, "{foreign:?}");
    host.assert_nothing_kept().await;
    sign(&maker.root, "ours", &bundle);
    let image = host.load(&reference).await.unwrap();
    let verdict = Verdict {
        rule: "rule \"file:*\"".into(),
        vouched: Vouched::Minisign(key),
    };
    assert_eq!(image.verdict, Some(verdict));
    let shown = host.local.images.show(&"golden".into()).await.unwrap();
    assert_eq!(shown, image);
    host.local.images.delete(&"golden".into()).await.unwrap();
    // signed by the right key, but for other bytes
    let (other, other_written) = maker.bundle("other.tar.zst", false).await;
    assert_ne!(other_written.sha256, written.sha256);
    std::fs::rename(format!("{bundle}.minisig"), format!("{other}.minisig")).unwrap();
    let wrong = host.load(&format!("file:{other}")).await.unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::PermissionDenied, "{wrong:?}");
}

#[tokio::test]
async fn kernels_are_held_to_their_own_rules() {
    let maker = Host::new().await;
    let (bundle, _) = kernel_bundle(&maker, "kernel.tar.zst");
    let key = key_pair(&maker.root, "ours");
    let minisign = Requirement::Minisign(MinisignKey::parse(&key).unwrap());
    let host = host(None, Some(rules("*", minisign))).await;
    let import = async |source: &str| {
        let source: KernelSource = source.parse().unwrap();
        host.local.kernels.import(&source, None, &NoProgress).await
    };
    let reference = format!("file:{bundle}");
    // a directory can hold no signature
    maker.kernel();
    let directory = format!("dir:{}", maker.root.join("boot"));
    for source in [reference.as_str(), &directory] {
        let refused = import(source).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied, "{refused:?}");
    }
    host.assert_nothing_kept().await;
    sign(&maker.root, "ours", &bundle);
    let kernel = import(&reference).await.unwrap();
    assert_eq!(kernel.verdict.unwrap().vouched, Vouched::Minisign(key));
}

#[tokio::test]
async fn what_no_rule_names_has_the_default() {
    let maker = Host::new().await;
    let (bundle, _) = maker.bundle("golden.tar.zst", true).await;
    let host = host(Some(rules("docker.io/*", Requirement::Accept)), None).await;
    let refused = host.load(&format!("file:{bundle}")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied, "{refused:?}");
    let reference = "oci:/nowhere:latest".parse().unwrap();
    let request = banger_core::image::PullRequest {
        reference,
        name: None,
        kernel: banger_core::kernel::KernelSelection {
            name: None,
            paths: maker.kernel(),
        },
        size: None,
        containerfile: None,
    };
    let refused = host.local.images.pull(request, &NoProgress).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied, "{refused:?}");
    host.assert_nothing_kept().await;
}

//! A policy in front of a real registry, with signatures made by openssl, as
//! `cosign sign --key` lays them out.

use std::{fs, process::Command};

use banger_core::domain::Digest;
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Value, json};

use super::{bundles::configure, environment::Environment, registry::Registry};

const PAYLOAD_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

fn tool(program: &str, arguments: &[&str]) -> Vec<u8> {
    #[expect(clippy::disallowed_methods, reason = "a tool that is the truth")]
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|_| panic!("{program} is needed: use `cargo xtask test`"));
    assert!(output.status.success(), "{program}: {output:?}");
    output.stdout
}

/// A key pair of openssl's; answers the secret key's file. The public one has
/// `.pub` behind its name.
fn key_pair(environment: &Environment, name: &str) -> Utf8PathBuf {
    let secret = environment.root.join(name);
    let curve = "ec_paramgen_curve:P-256";
    tool(
        "openssl",
        &[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            curve,
            "-out",
            secret.as_str(),
        ],
    );
    let public = format!("{secret}.pub");
    tool(
        "openssl",
        &["pkey", "-in", secret.as_str(), "-pubout", "-out", &public],
    );
    secret
}

/// The digest that a reference names in the registry.
fn digest(reference: &str) -> Digest {
    let source = format!("docker://{reference}");
    let raw = tool(
        "skopeo",
        &["inspect", "--tls-verify=false", "--raw", &source],
    );
    Digest::of(&raw)
}

/// Puts a signature of `signed` beside the image `image`.
fn sign(
    environment: &Environment,
    registry: &Registry,
    key: &Utf8Path,
    (image, signed): (&Digest, &Digest),
) {
    let payload = json!({
        "critical": {
            "identity": {"docker-reference": ""},
            "image": {"docker-manifest-digest": signed.to_string()},
            "type": "cosign container image signature",
        },
        "optional": null,
    });
    let payload = payload.to_string();
    let file = environment.root.join("payload");
    fs::write(&file, &payload).unwrap();
    let signature = environment.root.join("signature");
    tool(
        "openssl",
        &[
            "dgst",
            "-sha256",
            "-sign",
            key.as_str(),
            "-out",
            signature.as_str(),
            file.as_str(),
        ],
    );
    let encoded = tool("openssl", &["base64", "-A", "-in", signature.as_str()]);
    let layout = environment.root.join("signature-layout");
    drop(fs::remove_dir_all(&layout));
    let encoded = String::from_utf8(encoded).unwrap();
    signature_layout(&layout, payload.as_bytes(), &encoded);
    let tag = format!("library/debian:sha256-{}.sig", image.to_hex());
    registry.push(&format!("oci:{layout}:signature"), &tag);
}

/// A layout with nothing but a signature in it.
fn signature_layout(layout: &Utf8Path, payload: &[u8], signature: &str) {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |content: &[u8]| {
        let digest = Digest::of(content);
        fs::write(blobs.join(digest.to_hex()), content).unwrap();
        json!({"digest": digest.to_string(), "size": content.len()})
    };
    let with = |mut descriptor: Value, more: Value| {
        let (Some(map), Value::Object(more)) = (descriptor.as_object_mut(), more) else {
            panic!("no objects");
        };
        map.extend(more);
        descriptor
    };
    let diff_ids = [Digest::of(payload).to_string()];
    let config = json!({
        "architecture": "", "os": "", "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = put(config.to_string().as_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": with(config, json!({"mediaType": "application/vnd.oci.image.config.v1+json"})),
        "layers": [with(put(payload), json!({
            "mediaType": PAYLOAD_TYPE,
            "annotations": {"dev.cosignproject.cosign/signature": signature},
        }))],
    });
    let manifest = with(
        put(manifest.to_string().as_bytes()),
        json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "annotations": {"org.opencontainers.image.ref.name": "signature"},
        }),
    );
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
    let version = json!({"imageLayoutVersion": "1.0.0"});
    fs::write(layout.join("oci-layout"), version.to_string()).unwrap();
}

#[test]
fn an_image_is_signed_by_the_policys_key_or_not_pulled() {
    let registry = Registry::start();
    let environment = Environment::with_kernel();
    let reference = registry.push(
        &environment.layout("busybox", "latest"),
        "library/debian:latest",
    );
    let (ours, theirs) = (
        key_pair(&environment, "ours"),
        key_pair(&environment, "theirs"),
    );
    let policy = format!(
        "[images]\ndefault = \"refuse\"\n[[images.rules]]\nmatch = \"{}/library/debian\"\n\
         require = \"cosign\"\nkey = \"{ours}.pub\"\n",
        registry.host
    );
    fs::write(environment.root.join("policy.toml"), policy).unwrap();
    configure(&environment, "policy = \"../../policy.toml\"\n");
    let pull = ["image", "pull", &reference];
    let image = digest(&reference);

    let unsigned = environment.refused(&pull, 5);
    assert!(unsigned.contains("no cosign signature"), "{unsigned}");
    sign(&environment, &registry, &theirs, (&image, &image));
    let foreign = environment.refused(&pull, 5);
    assert!(foreign.contains("by another key"), "{foreign}");
    sign(
        &environment,
        &registry,
        &ours,
        (&image, &Digest::of(b"other")),
    );
    let other = environment.refused(&pull, 5);
    assert!(other.contains("of another image"), "{other}");
    assert_eq!(environment.names("image"), [""; 0]);

    sign(&environment, &registry, &ours, (&image, &image));
    environment.must(&pull);
    let shown = environment.must(&["--json", "image", "show", "debian"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["origin"]["manifest"], image.to_string());
    let der = tool(
        "openssl",
        &[
            "pkey",
            "-pubin",
            "-in",
            &format!("{ours}.pub"),
            "-outform",
            "DER",
        ],
    );
    let signer = format!("cosign:{}", Digest::of(&der));
    assert_eq!(shown["policy"]["signed_by"], signer);
    let text = environment.must(&["image", "show", "debian"]);
    assert!(text.contains(&signer), "{text}");

    let layout = environment.layout("busybox", "latest");
    let refused = environment.refused(&["image", "pull", &layout], 5);
    assert!(refused.contains("refused by the policy"), "{refused}");
}

#[test]
fn a_policy_that_cannot_be_read_lets_nothing_in() {
    let environment = Environment::empty();
    configure(&environment, "policy = \"missing.toml\"\n");
    let refused = environment.refused(&["image", "list"], 2);
    assert!(refused.contains("missing.toml"), "{refused}");
}

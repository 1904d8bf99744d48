//! Documents from outside, each with its parser: the first byte says which.
#![no_main]

use std::{fmt::Debug, fs, str::FromStr, sync::OnceLock};

use banger_cli::{config::Config, policy};
use banger_core::{
    bundle::{BundleReference, FetchLimits, Fetcher, Location},
    catalog::{CatalogOptions, Catalogs, EntrySource},
    directories::Directories,
    domain::{Bytes, Digest},
    kernel::KernelSource,
    oci::{ImageReference, Mirror, SourceOptions, fuzzing},
    trust::{CosignKey, CosignSignature, MinisignKey},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use camino::{Utf8Path, Utf8PathBuf};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
use tokio::runtime::Runtime;

/// A key that is right, so that what is behind its check is reached.
const MINISIGN_KEY: &str = "RWSJryKNyYCCU6Xcy66GJvvSKVdkoeBBiz3xxoU4gYtiKAcZGm/clkZK";
/// The public key of [`COSIGN_SECRET`].
const COSIGN_KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEHhhTL9R1TALzBB2cdc6zO4P/2BrH\n\
    zk/ogsyxyYvFiW6kbDEcTi/0DdlqNlPm5FRF0y3+SG7O11x6kMahiIHAow==\n\
    -----END PUBLIC KEY-----\n";
const COSIGN_SECRET: [u8; 32] = [7; 32];

type Target = fn(&[u8]);

const TARGETS: [Target; 16] = [
    manifest,
    configuration_of_image,
    docker_manifests,
    signatures,
    auth_file,
    challenge,
    token,
    headers_of_answer,
    complaint,
    catalog,
    minisign,
    cosign_key,
    cosign_payload,
    settings,
    rules,
    references,
];

/// The text of bytes that must be UTF-8, as files are read.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

fn manifest(bytes: &[u8]) {
    assert!(fuzzing::document(bytes).is_none_or(|count| count <= 4096));
}

fn configuration_of_image(bytes: &[u8]) {
    if let Some((diff_ids, Some(image))) = fuzzing::config(bytes) {
        let layers = image.layers.iter().map(|layer| layer.diff_id);
        assert!(layers.eq(diff_ids));
    }
}

fn docker_manifests(bytes: &[u8]) {
    let manifests = fuzzing::docker_manifests(bytes);
    assert!(manifests.is_none_or(|digests| digests.len() <= 4096));
}

fn signatures(bytes: &[u8]) {
    assert!(fuzzing::signatures(bytes).is_none_or(|count| count <= 64));
}

/// No problem quotes the file.
fn auth_file(bytes: &[u8]) {
    for (registry, repository) in [("docker.io", "library/debian"), ("a.example:5000", "b/c")] {
        if let Err(problem) = fuzzing::auth_file(bytes, registry, repository) {
            let place = |c: char| c.is_ascii_digit() || c == ',' || c == ' ';
            let at = problem.strip_prefix("it is not valid at line");
            let at = at.map(|rest| rest.replace("column", ""));
            assert!(
                at.is_some_and(|rest| rest.chars().all(place))
                    || problem == "an auth value in it is not base64 of USER:PASSWORD",
                "{problem}"
            );
        }
    }
}

/// Each line is the value of one header.
fn headers(names: &[HeaderName], bytes: &[u8]) -> HeaderMap {
    let lines = bytes.split(|byte| *byte == b'\n').zip(names.iter().cycle());
    let values = lines.filter_map(|(line, name)| {
        let value = HeaderValue::from_bytes(line).ok()?;
        Some((name.clone(), value))
    });
    // as many as a client takes
    values.take(100).collect()
}

fn challenge(bytes: &[u8]) {
    let headers = headers(&[header::WWW_AUTHENTICATE], bytes);
    if let Some((url, form)) = fuzzing::challenge(&headers) {
        let after_scheme = url.split_once("://").map_or("", |(_, rest)| rest);
        let end = after_scheme.find(['/', '?', '#']);
        let host = &after_scheme[..end.unwrap_or(after_scheme.len())];
        assert!(!host.contains('@'), "{url}");
        assert!(form.starts_with("grant_type=refresh_token&"), "{form}");
        assert!(form.ends_with("&refresh_token=refresh"), "{form}");
    }
}

fn token(bytes: &[u8]) {
    if let Some((header, _)) = fuzzing::token(bytes) {
        assert!(header.is_sensitive());
        assert!(header.as_bytes().starts_with(b"Bearer "));
    }
}

fn headers_of_answer(bytes: &[u8]) {
    let names = [header::CONTENT_RANGE, header::RETRY_AFTER, header::DATE];
    let headers = headers(&names, bytes);
    let _ = fuzzing::first_byte(&headers);
    let _ = fuzzing::retry_after(&headers);
}

fn complaint(bytes: &[u8]) {
    let quoted = fuzzing::complaint(bytes);
    assert!(quoted.chars().count() <= 200, "{quoted}");
    assert!(!quoted.contains(char::is_control), "{quoted:?}");
    assert!(!quoted.contains("://"), "{quoted}");
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap()
    })
}

fn catalogs(scratch: &Utf8Path, file: Utf8PathBuf) -> Catalogs {
    let directories = Directories {
        state: scratch.join("state"),
        cache: scratch.join("cache"),
        runtime: scratch.join("run"),
    };
    let limits = FetchLimits {
        bundle: Bytes::from_mib(1),
        unpacked: Bytes::from_mib(1),
    };
    let catalog = CatalogOptions {
        name: "fuzzed".into(),
        location: Location::File(file),
        sha256: None,
        key: None,
    };
    Catalogs::new(
        Fetcher::new(SourceOptions::new(directories), limits),
        vec![catalog],
    )
}

/// Every entry of a catalog is for a person to see and pinned.
fn catalog(bytes: &[u8]) {
    let scratch = Utf8PathBuf::from(format!("/dev/shm/banger-fuzz-{}", std::process::id()));
    fs::create_dir_all(&scratch).unwrap();
    let file = scratch.join("catalog.json");
    fs::write(&file, bytes).unwrap();
    let catalogs = catalogs(&scratch, file);
    for available in
        runtime().block_on(async { [catalogs.kernels().await, catalogs.images().await] })
    {
        for entry in available
            .entries
            .iter()
            .filter(|entry| entry.catalog == "fuzzed")
        {
            let texts = [Some(&entry.architecture), entry.version.as_ref()];
            let mut texts = texts.into_iter().flatten().chain([&entry.name]);
            assert!(texts.all(|text| !text.contains(char::is_control)));
            if let EntrySource::Bundle { reference, .. } = &entry.source {
                assert!(reference.digest.is_some());
                assert!(!reference.to_string().contains(char::is_control));
            }
        }
    }
}

/// Nothing is signed by the key but what minisign signed, "hello".
fn minisign(bytes: &[u8]) {
    let text = text(bytes);
    if let Ok(key) = MinisignKey::parse(text) {
        assert_eq!(MinisignKey::parse(key.text()), Ok(key));
    }
    let key = MinisignKey::parse(MINISIGN_KEY).unwrap();
    assert!(key.verify(&b"other"[..], text).is_err());
}

fn cosign_key(bytes: &[u8]) {
    if let Ok(key) = CosignKey::parse(text(bytes)) {
        let other = CosignSignature {
            payload: b"{}".to_vec(),
            signature: text(bytes).to_owned(),
        };
        assert!(key.verify(&[other], &Digest::of(b"image")).is_err());
    }
}

/// What the key's owner signed, and the bytes as a signature of anything.
fn cosign_payload(bytes: &[u8]) {
    let signing = SigningKey::from_slice(&COSIGN_SECRET).unwrap();
    let key = CosignKey::parse(COSIGN_KEY).unwrap();
    let signature: Signature = signing.sign(bytes);
    let signed = CosignSignature {
        payload: bytes.to_vec(),
        signature: BASE64_STANDARD.encode(signature.to_der().as_bytes()),
    };
    let image = Digest::of(b"image");
    let holds = key.verify(std::slice::from_ref(&signed), &image).is_ok();
    let named = text(bytes).contains(&image.to_hex()) || text(bytes).contains('\\');
    assert!(!holds || named);
    let forged = CosignSignature {
        payload: bytes.to_vec(),
        signature: BASE64_STANDARD.encode(bytes),
    };
    assert!(key.verify(&[forged], &image).is_err());
}

fn settings(bytes: &[u8]) {
    match Config::parse(Utf8Path::new("/etc/banger/config.toml"), text(bytes)) {
        Ok(config) => {
            assert!(config.catalog_options().is_ok());
            let paths = [&config.state_dir, &config.cache_dir, &config.policy];
            assert!(paths.into_iter().flatten().all(|path| path.is_absolute()));
        }
        Err(error) => drop(error.to_string()),
    }
}

fn rules(bytes: &[u8]) {
    let read_key = |key: &Utf8Path| {
        assert!(key.is_absolute());
        Ok(MINISIGN_KEY.to_owned())
    };
    drop(policy::parse(
        Utf8Path::new("/etc/banger/policy.toml"),
        text(bytes),
        &read_key,
    ));
}

/// What is read of what was written is the same.
fn round_trip<T: FromStr<Err: Debug> + ToString + PartialEq + Debug>(text: &str) {
    if let Ok(read) = text.parse::<T>() {
        assert_eq!(read.to_string().parse::<T>().unwrap(), read);
    }
}

fn references(bytes: &[u8]) {
    let text = text(bytes);
    round_trip::<ImageReference>(text);
    round_trip::<BundleReference>(text);
    round_trip::<KernelSource>(text);
    round_trip::<Digest>(text);
    drop(text.parse::<Mirror>());
    drop(text.parse::<Bytes>());
}

fuzz_target!(|bytes: &[u8]| {
    if let Some((first, rest)) = bytes.split_first() {
        TARGETS[usize::from(*first) % TARGETS.len()](rest);
    }
});

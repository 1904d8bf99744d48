//! cosign's signatures of images by a key, checked without a network.
//!
//! Formats: cosign's `specs/SIGNATURE_SPEC.md` (the simple signing payload and
//! its annotation; the signature is ECDSA P-256 over the payload's sha256, DER
//! in base64) and containers/image's `docs/signature-protocols.md`.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use p256::{
    ecdsa::{Signature, VerifyingKey, signature::Verifier as _},
    pkcs8::DecodePublicKey as _,
};
use serde::Deserialize;

use super::KeyParseError;
use crate::domain::Digest;

/// The only type of payload that is a signature of an image.
const PAYLOAD_TYPE: &str = "cosign container image signature";

/// A public key that signs images (`cosign.pub`: PEM, ECDSA P-256).
#[derive(Clone, PartialEq, Eq)]
pub struct CosignKey {
    key: VerifyingKey,
    fingerprint: Digest,
}

impl fmt::Debug for CosignKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fingerprint = &self.fingerprint;
        f.debug_tuple("CosignKey").field(fingerprint).finish()
    }
}

/// A signature as it lies beside an image. Nothing of it was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignSignature {
    /// The signed document, byte for byte.
    pub payload: Vec<u8>,
    /// The signature in base64.
    pub signature: String,
}

/// The parts of a payload that say what was signed.
#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: SignedImage,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct SignedImage {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

impl CosignKey {
    /// Reads a `cosign.pub` file.
    pub fn parse(pem: &str) -> Result<Self, KeyParseError> {
        let failed = || KeyParseError {
            scheme: "cosign",
            problem: "it is no ECDSA P-256 key in PEM".to_owned(),
        };
        let key = VerifyingKey::from_public_key_pem(pem.trim()).map_err(|_| failed())?;
        let lines = pem.lines().map(str::trim);
        let body: String = lines.filter(|line| !line.starts_with('-')).collect();
        let der = BASE64_STANDARD.decode(body).map_err(|_| failed())?;
        Ok(Self {
            key,
            fingerprint: Digest::of(&der),
        })
    }

    /// Digest of the key's DER form, which names it.
    #[must_use]
    pub const fn fingerprint(&self) -> &Digest {
        &self.fingerprint
    }

    /// Whether one of `signatures` is of the image `digest` and by this key;
    /// otherwise a text that says why none is.
    pub fn verify(&self, signatures: &[CosignSignature], digest: &Digest) -> Result<(), String> {
        let mut problem = "it has no cosign signature".to_owned();
        for signature in signatures {
            match self.verify_one(signature, digest) {
                Ok(()) => return Ok(()),
                Err(found) => found.clone_into(&mut problem),
            }
        }
        Err(problem)
    }

    fn verify_one(&self, signed: &CosignSignature, digest: &Digest) -> Result<(), &'static str> {
        let der = BASE64_STANDARD
            .decode(signed.signature.trim())
            .map_err(|_| "its cosign signature is not base64")?;
        let signature =
            Signature::from_der(&der).map_err(|_| "its cosign signature is not ECDSA P-256")?;
        self.key
            .verify(&signed.payload, &signature)
            .map_err(|_| "its cosign signature is by another key")?;
        // from here on the key's owner speaks
        let payload: Payload = serde_json::from_slice(&signed.payload)
            .map_err(|_| "its cosign signature signs something else than an image")?;
        if payload.critical.kind != PAYLOAD_TYPE {
            return Err("its cosign signature signs something else than an image");
        }
        if payload.critical.image.digest != digest.to_string() {
            return Err("its cosign signature is of another image");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // made by openssl: keys, and signatures of the payload with a small and
    // with a large `s`, both of which it makes
    const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEHApCl7QM5FzRhMLsOgQqLMk/J7DR\n\
        3EGiRwF0VrmII7DUW2QQ31a0+fLLEe7KhRDBuSs6b8MUOZzRv23YOQbodA==\n\
        -----END PUBLIC KEY-----\n";
    const OTHER_KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeoQcjMndljAtIi81/KUPhQ0LQAft\n\
        OH1aijUARRBV8/DlNnF27jubWrKkrEtY8uoyIB+5bg87D4imcSPmqW0kzQ==\n\
        -----END PUBLIC KEY-----\n";
    const P384_KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
        MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAECsVgV/83I9fceaf5XPe7WaTDhcXPec/P\n\
        swYQI6PjDXKQ7pZNyUd/VmCs0CkeWgNd0tHAqV8yVomhtOh0R9TuUYt9Ta8l60Xb\n\
        Pub6UUseZMT1rEbePszVmVvqWkP810jL\n\
        -----END PUBLIC KEY-----\n";
    const FINGERPRINT: &str =
        "sha256:a188bb324c4005c57ce8d8387d42fb6f60c299a13aa70042a96daa19c314dd95";
    const SIGNATURES: [&str; 2] = [
        "MEUCIQDv7bB3CEQ7Kzjk+MVGqDFnj5G+/C1JzDD/Ek5+lrDCfAIgQGyArnRZfNZAbJ5e+fDVkZEOCchyDL7uOtpWhQtZOyc=",
        "MEUCICuG7skzFvTkNQOm3HDhC6bAGgNK/ZE6VPAXQK4tlE2qAiEA7vPdg+4ILKfvT0De6Eo9HiUMbVkBpS1HOUdLR6UQ2bY=",
    ];

    fn payload(digest: &Digest, kind: &str) -> String {
        format!(
            "{{\"critical\":{{\"identity\":{{\"docker-reference\":\"\"}},\
             \"image\":{{\"docker-manifest-digest\":\"{digest}\"}},\"type\":\"{kind}\"}},\"optional\":null}}"
        )
    }

    fn signed(payload: &str, signature: &str) -> CosignSignature {
        CosignSignature {
            payload: payload.as_bytes().to_vec(),
            signature: signature.to_owned(),
        }
    }

    #[test]
    fn what_openssl_signed_holds_and_nothing_else() {
        let key = CosignKey::parse(KEY).unwrap();
        assert_eq!(key.fingerprint().to_string(), FINGERPRINT);
        let image = Digest::of(b"image");
        let good = payload(&image, PAYLOAD_TYPE);
        for signature in SIGNATURES {
            let good = signed(&good, signature);
            key.verify(std::slice::from_ref(&good), &image).unwrap();
            let among = [signed("{}", "c2ln"), good.clone()];
            key.verify(&among, &image).unwrap();
            let other = key.verify(std::slice::from_ref(&good), &Digest::of(b"other"));
            assert!(other.unwrap_err().contains("of another image"));
            let foreign = CosignKey::parse(OTHER_KEY).unwrap().verify(&[good], &image);
            assert!(foreign.unwrap_err().contains("by another key"));
        }
        assert!(key.verify(&[], &image).is_err());
        for bad in [
            signed(&payload(&image, "other"), SIGNATURES[0]),
            signed(&good, "not base64"),
            signed(&good, "c2ln"),
            signed(&good, ""),
        ] {
            assert!(key.verify(&[bad], &image).is_err());
        }
    }

    #[test]
    fn only_p256_keys_are_taken() {
        for text in [
            "",
            P384_KEY,
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        ] {
            assert!(CosignKey::parse(text).is_err(), "{text:?}");
        }
    }
}

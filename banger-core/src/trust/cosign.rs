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

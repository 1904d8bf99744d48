//! cosign's signatures in a registry (cosign's `specs/SIGNATURE_SPEC.md`):
//! the tag `sha256-HEX.sig` beside an image names a manifest, each layer of
//! which is a signed payload, with the signature as an annotation.

use futures_util::FutureExt as _;

use super::{
    SourceError,
    artifact::{ArtifactFile, files},
    distribution::{Attempt, Endpoint},
    document::Blob,
    problem::Problem,
    registry::RegistrySource,
};
use crate::{
    domain::{Bytes, Digest},
    trust::CosignSignature,
};

const PAYLOAD_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// Most signatures of an image that are looked at.
const MAX_SIGNATURES: usize = 64;
/// Largest payload; cosign's have a few hundred bytes.
const MAX_PAYLOAD: u64 = 64 * Bytes::KIB;

/// A signature whose payload is still to be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listed {
    blob: Blob,
    signature: String,
}

impl RegistrySource {
    /// See [`super::ImageSource::signatures`].
    pub(super) async fn cosign_signatures(
        &self,
        root: &Digest,
    ) -> Result<Vec<CosignSignature>, SourceError> {
        let tag = format!("sha256-{}.sig", root.to_hex());
        let session = &self.session;
        let read = |endpoint| manifest(endpoint, tag.clone()).boxed();
        let bytes = match session.call(read).await {
            Ok(bytes) => bytes,
            Err(SourceError::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let listed = parse(&bytes).map_err(|problem| problem.of(session.reference()))?;
        let mut signatures = Vec::with_capacity(listed.len());
        for Listed { blob, signature } in listed {
            let read = |endpoint| self.small_blob(endpoint, blob).boxed();
            signatures.push(CosignSignature {
                payload: session.call(read).await?,
                signature,
            });
        }
        Ok(signatures)
    }
}

async fn manifest(endpoint: &Endpoint, tag: String) -> Result<Vec<u8>, Attempt> {
    endpoint.manifest(&tag).await
}

pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Listed>, Problem> {
    let mut layers = files(bytes, "manifest of its signatures")?;
    layers.retain(|layer| layer.media_type == PAYLOAD_TYPE);
    if MAX_SIGNATURES < layers.len() {
        let problem = format!("it has more than {MAX_SIGNATURES} signatures");
        return Err(Problem::Limit(problem));
    }
    layers.into_iter().map(listed).collect()
}

fn listed(mut layer: ArtifactFile) -> Result<Listed, Problem> {
    let blob = layer.blob()?;
    if MAX_PAYLOAD < blob.size.get() {
        let problem = format!("a signature of it has more than {MAX_PAYLOAD} bytes");
        return Err(Problem::Limit(problem));
    }
    Ok(Listed {
        blob,
        // without one, it is a signature that does not hold
        signature: layer.annotations.remove(SIGNATURE).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(layers: &str) -> String {
        format!(r#"{{"schemaVersion": 2, "layers": [{layers}]}}"#)
    }

    fn layer(size: u64) -> String {
        format!(
            r#"{{"mediaType": "{PAYLOAD_TYPE}", "size": {size}, "digest": "{}",
                "annotations": {{"{SIGNATURE}": "c2ln"}}}}"#,
            Digest::of(b"payload")
        )
    }

    #[test]
    fn signatures_are_listed_and_other_layers_are_not() {
        let other = layer(7).replace(PAYLOAD_TYPE, "text/plain");
        let text = manifest(&format!("{other}, {}", layer(7)));
        let listed = parse(text.as_bytes()).unwrap();
        let expected = Listed {
            blob: Blob {
                digest: Digest::of(b"payload"),
                size: Bytes::new(7),
            },
            signature: "c2ln".into(),
        };
        assert_eq!(listed, [expected]);
        assert_eq!(parse(b"{}").unwrap(), []);
    }

    #[test]
    fn too_many_too_large_and_malformed_ones_are_refused() {
        let many = vec![layer(7); MAX_SIGNATURES + 1].join(",");
        for text in [
            manifest(&many),
            manifest(&layer(MAX_PAYLOAD + 1)),
            manifest(&layer(7).replace("sha256:", "sha512:")),
            "[".to_owned(),
        ] {
            assert!(parse(text.as_bytes()).is_err());
        }
    }
}

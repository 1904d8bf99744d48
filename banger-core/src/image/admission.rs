//! What the policy says of an image that is pulled.

use super::{LocalImageManager, PullError, PullRequest};
use crate::{
    domain::{ImageName, Verdict},
    oci::{ImageReference, ImageSource, ResolvedImage},
    trust::{Admission, TrustError},
};

/// What is asked of the image; an error when it is refused whatever it is.
pub(super) fn admit(
    manager: &LocalImageManager,
    request: &PullRequest,
    name: &ImageName,
) -> Result<Admission, PullError> {
    let rules = manager.options.supply.policy.images.as_ref();
    let subject = request.reference.subject();
    let untagged = match &request.reference {
        ImageReference::Registry(image) => {
            Some(format!("{}/{}", image.registry(), image.repository()))
        }
        _ => None,
    };
    let admitted = Admission::of(rules, &subject, untagged.as_deref());
    let admitted = admitted.and_then(|admission| match &request.reference {
        // nothing else can hold a signature
        ImageReference::Registry(_) => admission.cosign().map(drop).map(|()| admission),
        _ => admission.unsigned().map(|()| admission),
    });
    admitted.map_err(|source| refused(name, source))
}

/// Checks the signature that is asked for, before any layer is fetched.
pub(super) async fn vouch(
    admission: &Admission,
    source: &dyn ImageSource,
    image: &ResolvedImage,
    name: &ImageName,
) -> Result<Option<Verdict>, PullError> {
    let key = admission.cosign().map_err(|error| refused(name, error))?;
    if let Some(key) = key {
        let signatures = source.signatures(&image.root).await;
        let signatures = signatures.map_err(|source| PullError::Source {
            name: name.clone(),
            source,
        })?;
        let held = key.verify(&signatures, &image.root);
        held.map_err(|problem| refused(name, admission.unvouched(problem)))?;
    }
    Ok(admission.verdict())
}

fn refused(name: &ImageName, source: TrustError) -> PullError {
    PullError::Trust {
        name: name.clone(),
        source,
    }
}

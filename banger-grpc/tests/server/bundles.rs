//! Images and kernels as bundles.

use banger_api::v1::{
    ImageArchiveFormat, ImportKernelRequest, SaveImageRequest, SaveKernelEnd, SaveKernelRequest,
    save_image_response::Piece as OfImage, save_kernel_response::Piece as OfKernel,
};
use banger_core::domain::Digest;
use banger_grpc::server::Limits;
use tonic::Code;

use super::{
    certificates::{Papers, options},
    harness::{Running, fresh, reason, succeeded, wait},
};

/// Imports a kernel that is hardly one.
async fn import(running: &Running) {
    let mut kernel = b"\x7fELF\x02\x01".to_vec();
    kernel.resize(64, 0);
    kernel[18] = 62;
    kernel.extend_from_slice(b"Linux version 6.1.0-tiny (builder) #1\n\0");
    let noise = (0..100_000_u32).map(|one| one.wrapping_mul(0x9e37_79b1) ^ one.rotate_left(13));
    kernel.extend(noise.flat_map(u32::to_be_bytes));
    let file = running.state().parent().unwrap().join("vmlinux");
    std::fs::write(&file, kernel).unwrap();
    let request = ImportKernelRequest {
        request_id: fresh(),
        source: file.into_string(),
        kernel_id: "tiny".to_owned(),
        wait: wait(60),
        ..ImportKernelRequest::default()
    };
    let imported = running.kernels().import_kernel(request).await.unwrap();
    succeeded(imported.into_inner().operation);
}

/// The bundle from an offset on.
async fn saved(running: &Running, offset_bytes: u64) -> (Vec<u8>, SaveKernelEnd) {
    let request = SaveKernelRequest {
        name: "kernels/tiny".to_owned(),
        offset_bytes,
    };
    let stream = running.kernels().save_kernel(request).await.unwrap();
    let (mut stream, mut bytes, mut end) = (stream.into_inner(), Vec::new(), None);
    let mut last = None;
    while let Some(piece) = stream.message().await.unwrap() {
        assert!(end.is_none(), "something came after the end");
        match piece.piece.unwrap() {
            OfKernel::Data(data) => {
                assert!(!data.is_empty() && data.len() <= 65_536);
                bytes.extend_from_slice(&data);
            }
            OfKernel::Progress(progress) => last = Some(progress),
            OfKernel::End(told) => end = Some(told),
        }
    }
    let last = last.expect("nothing was told of the packing");
    assert_eq!(last.done, last.total);
    (bytes, end.expect("the bundle has no end"))
}

#[tokio::test]
async fn a_bundle_goes_on_at_any_offset() {
    let running = Running::serving(Limits::default()).await;
    import(&running).await;
    let (whole, end) = saved(&running, 0).await;
    assert_eq!(whole.len() as u64, end.size_bytes);
    assert_eq!(Digest::of(&whole).to_string(), end.archive_digest);
    assert!(400_000 < end.unpacked_bytes);
    for offset in [1, 65_535, 65_536, 300_001, end.size_bytes] {
        let (rest, again) = saved(&running, offset).await;
        assert_eq!(again, end);
        assert!(rest == whole[usize::try_from(offset).unwrap()..]);
    }
    let (nothing, again) = saved(&running, u64::MAX).await;
    assert_eq!((nothing.len(), again), (0, end));

    let request = SaveKernelRequest {
        name: "kernels/none".to_owned(),
        offset_bytes: 0,
    };
    let missing = running.kernels().save_kernel(request).await.unwrap_err();
    assert_eq!(
        (missing.code(), reason(&missing).as_str()),
        (Code::NotFound, "KERNEL_NOT_FOUND")
    );
}

#[tokio::test]
async fn bundles_are_for_whoever_keeps_images() {
    let papers = Papers::new();
    papers.list(&[
        ("ivy", "token-of-ivy", &["images"]),
        ("vic", "token-of-vic", &["vms:own"]),
    ]);
    let running = Running::guarded(options(papers.with_tokens())).await;
    running.prepare().await;
    let save = |format: ImageArchiveFormat| SaveImageRequest {
        name: "images/small".to_owned(),
        format: format.into(),
        without_kernel: true,
        ..SaveImageRequest::default()
    };
    let kernel = SaveKernelRequest {
        name: "kernels/linux".to_owned(),
        offset_bytes: 0,
    };
    let vic = papers.client(&running, Some("token-of-vic"), None);
    let bundle = save(ImageArchiveFormat::Bundle);
    let refused = vic.images().save_image(bundle.clone()).await;
    assert_eq!(reason(&refused.unwrap_err()), "OUT_OF_SCOPE");
    let refused = vic.kernels().save_kernel(kernel.clone()).await;
    assert_eq!(reason(&refused.unwrap_err()), "OUT_OF_SCOPE");

    let ivy = papers.client(&running, Some("token-of-ivy"), None);
    ivy.kernels().save_kernel(kernel).await.unwrap();
    let other = save(ImageArchiveFormat::Docker);
    let wrong = ivy.images().save_image(other).await.unwrap_err();
    assert!(wrong.message().contains("without_kernel"), "{wrong}");
    let stream = ivy.images().save_image(bundle).await;
    let mut stream = stream.unwrap().into_inner();
    // the packing is told of before there is a byte
    let first = stream.message().await.unwrap().unwrap().piece;
    assert!(matches!(first, Some(OfImage::Progress(_))), "{first:?}");
}

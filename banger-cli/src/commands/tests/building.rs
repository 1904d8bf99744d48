//! Building images, over a double that only writes down what it was asked for.

use async_trait::async_trait;
use banger_core::{
    domain::{Image, ImageOrigin},
    image::{
        ProvisionParts,
        build::{
            BuildContainerfileRequest, BuildImageError, BuildImageRequest, ContainerBuilder,
            ImageBuilder, Source,
        },
    },
    progress::{ProgressEvent, ProgressSink},
};

use super::*;
use crate::error::Report;

#[async_trait]
impl ImageBuilder for World {
    async fn build_from_image(
        &self,
        request: BuildImageRequest,
        progress: &dyn ProgressSink,
    ) -> Result<Image, BuildImageError> {
        self.call(format!("build {} from {}", request.name, request.base));
        progress.emit(ProgressEvent::BuildOutput {
            bytes: "the guest's words\n".into(),
        });
        let Source::Host(provision) = request.source else {
            panic!("the files of the command line are the host's");
        };
        if provision.commands == ["false"] {
            return Err(BuildImageError::Step {
                name: request.name,
                step: "command false".to_owned(),
                problem: "exit status 1".to_owned(),
                is_own: false,
                log: "/s/build-logs/new.log".into(),
            });
        }
        assert_eq!(provision.parts, ProvisionParts::ALL);
        Ok(double::image(request.name.as_str(), ""))
    }

    async fn build_containerfile(
        &self,
        request: BuildContainerfileRequest,
        _progress: &dyn ProgressSink,
    ) -> Result<Image, BuildImageError> {
        let kernel = request.kernel.name.unwrap();
        self.call(format!("build {} with {kernel}", request.context));
        if let Some(program) = request.program {
            return Err(BuildImageError::NoProgram {
                name: request.name,
                programs: vec![program.as_str()],
            });
        }
        Ok(Image {
            origin: ImageOrigin::Registered,
            ..double::image(request.name.as_str(), "")
        })
    }
}

#[tokio::test]
async fn an_image_is_built_from_another_and_named_alone_on_standard_output() {
    let world = Arc::new(World::default().with_image("base", "r"));
    let line = "banger image build --from-image base --name new";
    let outcome = banger(&world, line).await;
    assert_eq!((outcome.status(), outcome.stdout.as_str()), (0, "new\n"));
    assert_eq!(world.calls(), ["build new from base"]);
}

#[tokio::test]
async fn a_failed_step_names_itself_and_the_log() {
    let world = Arc::new(World::default());
    let line = "banger image build --from-image base --name new --bare --run false";
    let failed = banger(&world, line).await;
    assert_eq!(failed.status(), 1);
    let told = Report::of(&failed.result.unwrap_err()).human();
    for expected in ["command false", "exit status 1", "/s/build-logs/new.log"] {
        assert!(told.contains(expected), "{told}");
    }
}

#[tokio::test]
async fn a_containerfile_takes_the_only_kernel_and_a_missing_program_is_named() {
    let world = Arc::new(World::default().with_kernels(&["only"]));
    let outcome = banger(&world, "banger image build /context --name new").await;
    assert_eq!((outcome.status(), outcome.stdout.as_str()), (0, "new\n"));
    assert_eq!(world.calls(), ["list kernels", "build /context with only"]);
    let docker = ContainerBuilder::Docker.as_str();
    let line = format!("banger image build /context --name new --builder {docker}");
    let refused = banger(&world, &line).await;
    assert_eq!(refused.status(), 9);
    let told = Report::of(&refused.result.unwrap_err()).human();
    assert!(told.contains("install one of: docker"), "{told}");
}

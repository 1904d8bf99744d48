//! The JSON that scripts rely on, and the texts beside it.

use std::{collections::BTreeMap, time::Duration};

use banger_core::domain::{
    BackendChoice, BackendKind, Bytes, Digest, DiskProvenance, Image, ImageId, ImageOrigin,
    ImageSizes, Kernel, KernelOrigin, RunConfig, Vm, VmExit, VmSpec, VmState,
};

use super::*;

const IMAGE_ID: &str = "01980000-0000-7000-8000-000000000001";
const VM_ID: &str = "01980000-0000-7000-8000-000000000002";

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

fn image() -> Image {
    Image {
        id: IMAGE_ID.parse().unwrap(),
        name: "debian".parse().unwrap(),
        artifact_directory: Some("/s/images/x".into()),
        rootfs: "/s/images/x/rootfs.ext4".into(),
        boot: BootArtifacts {
            kernel: "/s/images/x/vmlinux".into(),
            initrd: None,
            modules: Some("/s/images/x/modules".into()),
        },
        kernel: "linux-6".parse().ok(),
        origin: ImageOrigin::Oci {
            reference: "docker.io/library/debian:bookworm".into(),
            manifest: Digest::from_bytes([0xab; 32]),
        },
        run_config: RunConfig {
            cmd: vec!["bash".into()],
            env: vec!["A=\u{1b}[1m".into()],
            ..RunConfig::default()
        },
        sizes: ImageSizes {
            apparent: Bytes::new(Bytes::GIB),
            on_disk: Bytes::from_mib(100),
        },
        package_hash: None,
        disk: DiskProvenance::default(),
        verdict: Some(Verdict {
            rule: "rule \"docker.io/*\"".into(),
            vouched: Vouched::Cosign(Digest::from_bytes([2; 32])),
        }),
        created: at(0),
        updated: at(1),
    }
}

fn kernel() -> Kernel {
    Kernel {
        name: "linux-6".parse().unwrap(),
        distribution: Some("debian".into()),
        architecture: "x86_64".into(),
        version: "6.1.0".into(),
        sha256: Digest::from_bytes([1; 32]),
        origin: KernelOrigin::AptPackage("linux-image-cloud-amd64".into()),
        directory: "/s/kernels/linux-6".into(),
        boot: BootArtifacts {
            kernel: "/s/kernels/linux-6/vmlinux".into(),
            ..BootArtifacts::default()
        },
        verdict: None,
        imported: at(0),
    }
}

fn vm() -> Vm {
    Vm {
        id: VM_ID.parse().unwrap(),
        name: "web".parse().unwrap(),
        image: IMAGE_ID.parse().unwrap(),
        spec: VmSpec {
            vcpus: 2,
            disk_size: Bytes::new(Bytes::GIB),
            labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            ..VmSpec::default()
        },
        state: VmState::Failed,
        reason: "the VMM died".into(),
        backend: Some(BackendChoice {
            kind: BackendKind::Qemu,
            reason: "it is there".into(),
        }),
        boot_id: None,
        ports: Vec::new(),
        exit: Some(VmExit::VmmDied("signal 9".into())),
        created: at(0),
        started: Some(at(1)),
        stopped: None,
        generation: 7,
    }
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

#[test]
fn an_image_as_json() {
    let digest = "ab".repeat(32);
    let key = "02".repeat(32);
    let expected = format!(
        r#"{{
  "id": "{IMAGE_ID}",
  "name": "debian",
  "managed": true,
  "artifact_directory": "/s/images/x",
  "rootfs": "/s/images/x/rootfs.ext4",
  "boot": {{
    "kernel": "/s/images/x/vmlinux",
    "initrd": null,
    "modules": "/s/images/x/modules"
  }},
  "kernel_name": "linux-6",
  "origin": {{
    "kind": "oci",
    "reference": "docker.io/library/debian:bookworm",
    "manifest": "sha256:{digest}",
    "sha256": null,
    "base": null,
    "input": null,
    "containerfile": null
  }},
  "run_config": {{
    "entrypoint": [],
    "cmd": [
      "bash"
    ],
    "env": [
      "A=\u001b[1m"
    ],
    "user": "",
    "working_directory": "",
    "stop_signal": "",
    "labels": {{}}
  }},
  "apparent_bytes": 1073741824,
  "on_disk_bytes": 104857600,
  "package_hash": null,
  "disk_method": null,
  "stale": [],
  "policy": {{
    "rule": "rule \"docker.io/*\"",
    "signed_by": "cosign:sha256:{key}"
  }},
  "created": "2023-11-14T22:13:20Z",
  "updated": "2023-11-14T22:13:21Z"
}}"#
    );
    assert_eq!(json(&ImageOutput::from(&image())), expected);
}

#[test]
fn a_kernel_as_json() {
    let digest = "01".repeat(32);
    let expected = format!(
        r#"{{
  "name": "linux-6",
  "distribution": "debian",
  "architecture": "x86_64",
  "version": "6.1.0",
  "sha256": "{digest}",
  "origin": {{
    "kind": "apt",
    "location": "linux-image-cloud-amd64"
  }},
  "directory": "/s/kernels/linux-6",
  "boot": {{
    "kernel": "/s/kernels/linux-6/vmlinux",
    "initrd": null,
    "modules": null
  }},
  "policy": null,
  "imported": "2023-11-14T22:13:20Z"
}}"#
    );
    assert_eq!(json(&KernelOutput::from(&kernel())), expected);
}

#[test]
fn a_vm_as_json() {
    let expected = format!(
        r#"{{
  "id": "{VM_ID}",
  "name": "web",
  "image_id": "{IMAGE_ID}",
  "state": "failed",
  "reason": "the VMM died",
  "cpus": 2,
  "memory_bytes": 536870912,
  "boot_mode": "agent",
  "root_disk": "overlay",
  "disk_bytes": 1073741824,
  "wanted_backend": null,
  "backend": {{
    "name": "qemu",
    "reason": "it is there"
  }},
  "network": "user",
  "published_ports": [],
  "bound_ports": [],
  "remove_on_stop": false,
  "lease": null,
  "labels": {{
    "a": "b"
  }},
  "volumes": [],
  "process": {{
    "command": [],
    "env": [],
    "working_directory": null,
    "user": null
  }},
  "boot_id": null,
  "exit": {{
    "kind": "vmm_died",
    "detail": "signal 9"
  }},
  "created": "2023-11-14T22:13:20Z",
  "started": "2023-11-14T22:13:21Z",
  "stopped": null,
  "generation": 7
}}"#
    );
    assert_eq!(json(&VmOutput::from(&vm())), expected);
}

#[test]
fn lists_for_people() {
    assert_eq!(
        image_table(&[image()]),
        "NAME    ID            KERNEL   SIZE     ON DISK    CREATED               ORIGIN\n\
         debian  000000000001  linux-6  1.0 GiB  100.0 MiB  2023-11-14 22:13:20Z  \
         docker.io/library/debian:bookworm\n"
    );
    assert_eq!(
        kernel_table(&[kernel()]),
        "NAME     VERSION  ARCH    IMPORTED              ORIGIN\n\
         linux-6  6.1.0    x86_64  2023-11-14 22:13:20Z  apt:linux-image-cloud-amd64\n"
    );
    let images = BTreeMap::from([(image().id, image().name)]);
    assert_eq!(
        vm_table(&[vm()], &images),
        "NAME  ID            IMAGE   STATE   CPUS  MEMORY     CREATED\n\
         web   000000000002  debian  failed  2     512.0 MiB  2023-11-14 22:13:20Z\n"
    );
}

#[test]
fn details_for_people_are_safe_lines() {
    let images = BTreeMap::new();
    for text in [
        image_details(&image(), &[image()]),
        kernel_details(&kernel()),
        vm_details(&vm(), &images),
    ] {
        assert!(text.lines().count() > 8, "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }
    assert!(vm_details(&vm(), &images).contains("exit:           the VMM died: signal 9\n"));
    assert!(vm_details(&vm(), &images).contains("image:          000000000001\n"));
}

#[test]
fn what_a_built_image_came_from_and_why_it_is_stale_is_said() {
    let built = Image {
        name: "built".parse().unwrap(),
        origin: ImageOrigin::Built {
            base: ImageId::generate(),
            base_name: image().name,
            input: Digest::of(b"input"),
        },
        package_hash: Some("of another day".to_owned()),
        ..image()
    };
    let alone = serde_json::to_value(ImageOutput::among(&built, &[])).unwrap();
    assert_eq!(alone["stale"], serde_json::json!(["packages"]));
    let images = [built.clone(), image()];
    let among = serde_json::to_value(ImageOutput::among(&built, &images)).unwrap();
    assert_eq!(among["stale"], serde_json::json!(["packages", "base"]));
    assert_eq!(among["origin"]["base"]["name"], "debian");
    assert!(image_table(&images).contains("  built from debian (stale)\n"));
    let details = image_details(&built, &images);
    let line = "stale:     its packages are not today's; image debian was replaced since\n";
    assert!(details.contains(line), "{details}");
    assert!(image_details(&image(), &images).contains("stale:     no\n"));
}

//! The store against real SQLite files.

use std::{collections::BTreeMap, time::Duration};

use camino::{Utf8Path, Utf8PathBuf};
use sqlx::{Connection as _, SqliteConnection, migrate::Migrator, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

use super::{Found, InsertError, Store, StoreError, Uncounted, connection::MIGRATOR};
use crate::{
    directories::Directories,
    domain::{
        BackendChoice, BackendKind, BootArtifacts, BootMode, Bytes, CommandEnd, Digest,
        DiskProvenance, GrantedLease, Image, ImageId, ImageOrigin, ImageSizes, Kernel,
        KernelOrigin, Lease, Moment, NetworkMode, OnExpiry, RunConfig, Selector, SinceBoot, Vm,
        VmExit, VmId, VmProcess, VmSpec, VmState, VmVolume, Volume, VolumeName, VolumeSource,
    },
};

fn directories(scratch: &TempDir) -> Directories {
    let root = Utf8Path::from_path(scratch.path()).unwrap();
    Directories {
        state: root.join("state"),
        cache: root.join("cache"),
        runtime: root.join("run"),
    }
}

fn time(seconds: u64) -> std::time::SystemTime {
    std::time::UNIX_EPOCH + Duration::from_secs(seconds)
}

pub(super) fn kernel() -> Kernel {
    let directory = Utf8PathBuf::from("/k/linux");
    Kernel {
        name: "linux".parse().unwrap(),
        distribution: Some("debian".into()),
        architecture: "x86_64".into(),
        version: "6.1.0".into(),
        sha256: Digest::of(b"kernel"),
        origin: KernelOrigin::AptPackage("linux-image-cloud-amd64".into()),
        boot: BootArtifacts {
            kernel: directory.join("vmlinux"),
            initrd: None,
            modules: Some(directory.join("modules")),
        },
        directory,
        verdict: None,
        imported: time(5),
    }
}

pub(super) fn image(name: &str) -> Image {
    let id = ImageId::generate();
    Image {
        id,
        name: name.parse().unwrap(),
        artifact_directory: Some(format!("/i/{id}").into()),
        rootfs: format!("/i/{id}/rootfs.ext4").into(),
        boot: kernel().boot,
        kernel: Some("linux".parse().unwrap()),
        origin: ImageOrigin::Oci {
            reference: "oci:/x:y".into(),
            manifest: Digest::of(b"m"),
        },
        run_config: RunConfig {
            cmd: vec!["sh".into()],
            user: "1:2".into(),
            stop_signal: "SIGQUIT".into(),
            labels: [("a".into(), "b".into())].into(),
            ..RunConfig::default()
        },
        sizes: ImageSizes {
            apparent: Bytes::from_mib(1024),
            on_disk: Bytes::from_mib(100),
        },
        package_hash: None,
        disk: DiskProvenance {
            layers: vec![Digest::of(b"one"), Digest::of(b"two")],
            ..DiskProvenance::default()
        },
        verdict: None,
        created: time(10),
        updated: time(11),
    }
}

pub(super) fn vm(name: &str, image: ImageId) -> Vm {
    Vm {
        id: VmId::generate(),
        name: name.parse().unwrap(),
        image,
        spec: VmSpec {
            vcpus: 2,
            boot_mode: BootMode::Native,
            disk_size: Bytes::from_mib(2048),
            backend: Some(BackendKind::Qemu),
            network: NetworkMode::User,
            ports: vec!["8080:80".parse().unwrap(), "53/udp".parse().unwrap()],
            remove_on_stop: true,
            lease: Some(GrantedLease {
                lease: Lease {
                    max_lifetime: Some(Duration::from_secs(5)),
                    idle_timeout: None,
                    on_expiry: OnExpiry::Delete,
                },
                granted: Moment {
                    wall: time(21),
                    since_boot: Some(SinceBoot {
                        boot_id: "host".into(),
                        elapsed: Duration::from_millis(1),
                    }),
                },
            }),
            labels: BTreeMap::from([("team".into(), "blue".into())]),
            volumes: vec![
                VmVolume {
                    source: VolumeSource::Disk("/data.ext4".into()),
                    target: "/data".into(),
                    read_only: true,
                },
                VmVolume {
                    source: VolumeSource::Directory("/dir".into()),
                    target: "/srv".into(),
                    read_only: false,
                },
            ],
            process: VmProcess {
                argv: vec!["/bin/sh".into()],
                user: Some("app".into()),
                ..VmProcess::default()
            },
            ..VmSpec::default()
        },
        state: VmState::Creating,
        reason: "being created".into(),
        backend: None,
        boot_id: None,
        ports: Vec::new(),
        exit: None,
        created: time(20),
        started: None,
        stopped: None,
        generation: 1,
    }
}

/// See `connection::connect`: with one of the limits there is a task that can spin.
#[tokio::test]
async fn no_connection_grows_too_old() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::open(&directories(&scratch)).await.unwrap();
    for pool in [&store.reader, &store.writer] {
        let options = pool.options();
        let limits = [options.get_idle_timeout(), options.get_max_lifetime()];
        assert_eq!(limits, [None; 2]);
    }
}

#[tokio::test]
async fn records_come_back_as_they_went_in() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::open(&directories(&scratch)).await.unwrap();
    let (kernel, image) = (kernel(), image("debian"));
    store.insert_kernel(&kernel).await.unwrap();
    store.insert_image(&image).await.unwrap();
    let vm = vm("one", image.id);
    store.insert_vm(&vm).await.unwrap();
    assert_eq!(
        store.kernel(&kernel.name).await.unwrap(),
        Some(kernel.clone())
    );
    assert_eq!(store.kernels().await.unwrap(), [kernel]);
    assert_eq!(store.images().await.unwrap(), [image]);
    assert_eq!(store.vms().await.unwrap(), [vm]);
}

#[tokio::test]
async fn every_origin_comes_back_as_it_went_in() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::open(&directories(&scratch)).await.unwrap();
    store.insert_kernel(&kernel()).await.unwrap();
    let origins = [
        ImageOrigin::Registered,
        ImageOrigin::Built {
            base: ImageId::generate(),
            base_name: "the.base_1".parse().unwrap(),
            input: Digest::of(b"input"),
        },
        ImageOrigin::Containerfile {
            path: "/a \"b\"/Containerfile".into(),
            manifest: Digest::of(b"manifest"),
        },
    ];
    for (number, origin) in origins.into_iter().enumerate() {
        let name = format!("image-{number}");
        let image = Image {
            origin,
            ..image(&name)
        };
        store.insert_image(&image).await.unwrap();
        let found = store.find_image(&Selector::from(name.as_str())).await;
        assert_eq!(found.unwrap(), Found::One(image));
    }
}

#[tokio::test]
async fn an_update_raises_the_generation_and_keeps_every_field() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::open(&directories(&scratch)).await.unwrap();
    store.insert_kernel(&kernel()).await.unwrap();
    let image = image("debian");
    store.insert_image(&image).await.unwrap();
    let mut vm = vm("one", image.id);
    store.insert_vm(&vm).await.unwrap();
    for state in VmState::ALL {
        vm.state = state;
        vm.backend = Some(BackendChoice {
            kind: BackendKind::Qemu,
            reason: "no KVM".into(),
        });
        vm.exit = Some(VmExit::VmmDied("signal 9".into()));
        vm.ports = vec!["127.0.0.1:4711:53/udp".parse().unwrap()];
        vm.started = Some(time(30));
        let stored = store.update_vm(&vm).await.unwrap();
        vm.generation += 1;
        assert_eq!(stored, vm);
    }
    assert_eq!(store.vm(vm.id).await.unwrap(), Some(vm));
}

#[tokio::test]
async fn the_end_of_a_command_and_the_use_of_a_volume_are_kept() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::open(&directories(&scratch)).await.unwrap();
    store.insert_kernel(&kernel()).await.unwrap();
    let image = image("debian");
    store.insert_image(&image).await.unwrap();
    let mut vm = vm("one", image.id);
    let name: VolumeName = "data".parse().unwrap();
    vm.spec.volumes[0].source = VolumeSource::Named(name.clone());
    store.insert_vm(&vm).await.unwrap_err();
    let volume = Volume {
        name: name.clone(),
        size: Bytes::from_mib(64),
        created: time(10),
        users: Vec::new(),
        labels: [("banger.owner", "ann"), ("banger.operation", "made")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
    };
    store.insert_volume(&volume).await.unwrap();
    let taken = store.insert_volume(&volume).await;
    assert!(matches!(taken, Err(InsertError::Taken)));
    let taken = async |owner, uncounted: &Uncounted| store.committed(Some(owner), uncounted).await;
    let nothing = Uncounted::default();
    assert_eq!(taken("ann", &nothing).await.unwrap().disk, 64 << 20);
    assert_eq!(taken("bob", &nothing).await.unwrap().disk, 0);
    let counted = Uncounted {
        operations: vec!["made".to_owned()],
        ..nothing
    };
    assert_eq!(taken("ann", &counted).await.unwrap().disk, 0);
    store.insert_vm(&vm).await.unwrap();
    for end in [
        VmExit::Command(CommandEnd::Code(255)),
        VmExit::Command(CommandEnd::Signal(9)),
        VmExit::NetworkLost("signal 9".into()),
    ] {
        vm.exit = Some(end);
        let stored = store.update_vm(&vm).await.unwrap();
        vm.generation += 1;
        assert_eq!(stored, vm);
    }
    let used = store.volume(&name).await.unwrap().unwrap();
    assert_eq!(used.users, std::slice::from_ref(&vm.name));
    store.delete_volume(&name).await.unwrap_err();
    assert!(store.delete_vm(vm.id).await.unwrap());
    assert_eq!(store.volumes().await.unwrap(), [volume]);
    assert!(store.delete_volume(&name).await.unwrap());
}

#[tokio::test]
async fn taken_names_and_used_records_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::open(&directories(&scratch)).await.unwrap();
    store.insert_kernel(&kernel()).await.unwrap();
    let first = image("debian");
    store.insert_image(&first).await.unwrap();
    let vm = vm("one", first.id);
    store.insert_vm(&vm).await.unwrap();
    assert!(matches!(
        store.insert_image(&image("debian")).await,
        Err(InsertError::Taken)
    ));
    assert!(matches!(
        store.insert_kernel(&kernel()).await,
        Err(InsertError::Taken)
    ));
    assert!(store.delete_image(first.id).await.is_err());
    assert!(store.delete_kernel(&kernel().name).await.is_err());
    assert_eq!(store.vms_of_image(first.id).await.unwrap(), [vm.name]);
    assert!(store.delete_vm(vm.id).await.unwrap());
    assert!(store.delete_image(first.id).await.unwrap());
    assert!(!store.delete_image(first.id).await.unwrap());
}

#[tokio::test]
async fn selectors_find_by_name_id_and_unique_part() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::open(&directories(&scratch)).await.unwrap();
    store.insert_kernel(&kernel()).await.unwrap();
    let image = image("debian");
    store.insert_image(&image).await.unwrap();
    let shadow = super::tests::image(&image.id.short());
    store.insert_image(&shadow).await.unwrap();
    let find = async |text: &str| store.find_image(&Selector::from(text)).await.unwrap();
    assert_eq!(find("debian").await, Found::One(image.clone()));
    assert_eq!(find(&image.id.to_string()).await, Found::One(image.clone()));
    assert_eq!(
        find(&image.id.to_string()[24..]).await,
        Found::One(shadow),
        "a name wins"
    );
    assert_eq!(
        find(&image.id.to_string()[28..]).await,
        Found::One(image.clone())
    );
    assert_eq!(find(&image.id.to_string()[..4]).await, Found::Several);
    assert_eq!(find("nothing").await, Found::None);
    assert_eq!(find("%%%%").await, Found::None);
}

/// Applies the first `count` migrations only, as an older banger did.
async fn migrate_partly(directories: &Directories, count: usize) -> SqliteConnection {
    std::fs::create_dir_all(&directories.state).unwrap();
    let options = SqliteConnectOptions::new()
        .filename(directories.database())
        .create_if_missing(true);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let migrations = MIGRATOR.iter().take(count).cloned().collect::<Vec<_>>();
    let older = Migrator {
        migrations: migrations.into(),
        ..Migrator::DEFAULT
    };
    older.run(&mut connection).await.unwrap();
    connection
}

#[tokio::test]
async fn a_populated_version_1_file_keeps_every_row_and_loses_the_docker_column() {
    let scratch = tempfile::tempdir().unwrap();
    let directories = directories(&scratch);
    let mut old = migrate_partly(&directories, 1).await;
    let id = ImageId::generate();
    sqlx::query(
        "INSERT INTO images (id, name, rootfs_path, kernel_path, source_kind, run_config, apparent_bytes, \
         on_disk_bytes, docker, created_at, updated_at) VALUES (?, 'old', '/r', '/k', 'registered', \
         '{\"entrypoint\":[],\"cmd\":[\"sh\"],\"env\":[],\"user\":\"\",\"working_directory\":\"\"}', 7, 5, 1, 1, 2)",
    )
    .bind(id.to_string())
    .execute(&mut old)
    .await
    .unwrap();
    old.close().await.unwrap();

    let store = Store::open(&directories).await.unwrap();
    let images = store.images().await.unwrap();
    assert_eq!(images.len(), 1);
    assert_eq!((images[0].id, images[0].name.as_str()), (id, "old"));
    assert_eq!(images[0].run_config.cmd, ["sh"]);
    assert!(!images[0].is_managed());
    let columns: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info('images')")
        .fetch_all(&store.reader)
        .await
        .unwrap();
    assert!(columns.contains(&"rootfs_path".to_owned()) && !columns.contains(&"docker".to_owned()));
}

#[tokio::test]
async fn a_kernel_is_replaced_unless_an_image_uses_it() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::open(&directories(&scratch)).await.unwrap();
    let successor = |version: &str| Kernel {
        version: version.into(),
        ..kernel()
    };
    // one that is not there is as good as replaced
    for version in ["1", "2"] {
        store.replace_kernel(&successor(version)).await.unwrap();
        assert_eq!(store.kernels().await.unwrap(), [successor(version)]);
    }
    store.insert_image(&image("debian")).await.unwrap();
    store.replace_kernel(&successor("3")).await.unwrap_err();
    assert_eq!(store.kernels().await.unwrap(), [successor("2")]);
}

#[tokio::test]
async fn kernels_from_before_bundles_keep_their_source_and_their_images() {
    let scratch = tempfile::tempdir().unwrap();
    let directories = directories(&scratch);
    let mut old = migrate_partly(&directories, 2).await;
    let rows = [
        "INSERT INTO kernels (name, architecture, version, sha256, source_kind, source, directory, imported_at) \
         VALUES ('linux', 'x86_64', '6.1', \
         'sha256:0000000000000000000000000000000000000000000000000000000000000000', 'apt', 'linux-image', '/k', 1)",
        "INSERT INTO images (id, name, rootfs_path, kernel_path, kernel_name, source_kind, run_config, \
         apparent_bytes, on_disk_bytes, created_at, updated_at) VALUES \
         ('01980000-0000-7000-8000-000000000001', 'old', '/r', '/k', 'linux', 'registered', \
         '{\"entrypoint\":[],\"cmd\":[],\"env\":[],\"user\":\"\",\"working_directory\":\"\"}', 7, 5, 1, 2)",
    ];
    for row in rows {
        sqlx::query(row).execute(&mut old).await.unwrap();
    }
    old.close().await.unwrap();
    let store = Store::open(&directories).await.unwrap();
    let name = "linux".parse().unwrap();
    let before = store.kernel(&name).await.unwrap().unwrap();
    let origin = KernelOrigin::AptPackage("linux-image".into());
    assert_eq!((before.origin, before.verdict), (origin, None));
    assert!(
        store.delete_kernel(&name).await.is_err(),
        "an image uses it"
    );
    let bundled = Kernel {
        name: "bundled".parse().unwrap(),
        origin: KernelOrigin::Bundle("file:/b.tar.zst".parse().unwrap()),
        ..kernel()
    };
    store.insert_kernel(&bundled).await.unwrap();
    assert_eq!(store.kernel(&bundled.name).await.unwrap(), Some(bundled));
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let directories = directories(&scratch);
    let store = Store::open(&directories).await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'of the future', TRUE, x'00', 0)",
    )
    .execute(&store.writer)
    .await
    .unwrap();
    let refused = Store::open(&directories).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::TooNew { found: 9999, .. }),
        "{refused}"
    );
}

#[tokio::test]
async fn every_connection_has_the_same_pragmas() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::open(&directories(&scratch)).await.unwrap();
    for pool in [&store.reader, &store.writer] {
        let mut connections = Vec::new();
        for _ in 0..pool.options().get_max_connections() {
            connections.push(pool.acquire().await.unwrap());
        }
        for connection in &mut connections {
            let foreign_keys: i64 = sqlx::query_scalar("PRAGMA foreign_keys")
                .fetch_one(&mut **connection)
                .await
                .unwrap();
            let journal: String = sqlx::query_scalar("PRAGMA journal_mode")
                .fetch_one(&mut **connection)
                .await
                .unwrap();
            let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous")
                .fetch_one(&mut **connection)
                .await
                .unwrap();
            assert_eq!((foreign_keys, journal.as_str(), synchronous), (1, "wal", 2));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_open_and_migrate_at_once() {
    let scratch = tempfile::tempdir().unwrap();
    let directories = directories(&scratch);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..8 {
        let directories = directories.clone();
        tasks.spawn(async move {
            let store = Store::open(&directories).await.unwrap();
            let mut image = image(&format!("image-{number}"));
            image.kernel = None;
            store.insert_image(&image).await.unwrap();
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let store = Store::open(&directories).await.unwrap();
    assert_eq!(store.images().await.unwrap().len(), 8);
}

#[tokio::test]
async fn the_states_of_the_schema_are_those_of_the_code() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::open(&directories(&scratch)).await.unwrap();
    let schema: String = sqlx::query_scalar("SELECT sql FROM sqlite_schema WHERE name = 'vms'")
        .fetch_one(&store.reader)
        .await
        .unwrap();
    for state in VmState::ALL {
        assert!(
            schema.contains(&format!("'{}'", state.as_str())),
            "{state:?}"
        );
    }
}

#[tokio::test]
async fn the_user_of_a_jail_is_one_vms_until_its_machine_is_gone() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::open(&directories(&scratch)).await.unwrap();
    store.insert_kernel(&kernel()).await.unwrap();
    let image = image("debian");
    store.insert_image(&image).await.unwrap();
    let mut vms = Vec::new();
    for name in ["one", "two", "three"] {
        let mut vm = vm(name, image.id);
        vm.spec.volumes.clear();
        vm.state = VmState::Starting;
        store.insert_vm(&vm).await.unwrap();
        vms.push(vm);
    }
    let range = (5000, 5001);
    let reserve = |index: usize| store.reserve_jail_id(vms[index].id, range, 1);
    assert_eq!(reserve(0).await.unwrap(), Some(5001));
    assert_eq!(reserve(1).await.unwrap(), Some(5000));
    assert_eq!(reserve(1).await.unwrap(), Some(5000));
    assert_eq!(reserve(2).await.unwrap(), None);
    for (state, is_free) in [(VmState::Paused, false), (VmState::Failed, true)] {
        let mut one = vms[0].clone();
        one.state = state;
        store.update_vm(&one).await.unwrap();
        assert_eq!(store.jail_ids().await.unwrap().len() == 1, is_free);
    }
    assert_eq!(reserve(2).await.unwrap(), Some(5001));
    store.delete_vm(vms[1].id).await.unwrap();
    assert_eq!(store.jail_ids().await.unwrap(), [(5001, vms[2].id)]);
}

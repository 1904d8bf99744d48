//! Image records.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use super::{
    Found, InsertError, Store, StoreError, commit,
    row::{
        from_bytes, from_json, from_time, parse, parse_optional, to_bytes, to_json, to_time,
        verdict,
    },
};
use crate::domain::{
    BootArtifacts, Digest, DiskMethod, DiskProvenance, Image, ImageId, ImageName, ImageOrigin,
    ImageSizes, RunConfig, Selector, VmName,
};

#[derive(FromRow)]
struct ImageRow {
    id: String,
    name: String,
    artifact_dir: Option<String>,
    rootfs_path: String,
    kernel_path: String,
    initrd_path: Option<String>,
    modules_dir: Option<String>,
    kernel_name: Option<String>,
    source_kind: String,
    source: Option<String>,
    source_digest: Option<String>,
    run_config: String,
    apparent_bytes: i64,
    on_disk_bytes: i64,
    packages_sha256: Option<String>,
    disk_method: Option<String>,
    disk_recipe: Option<String>,
    disk_layers: Option<String>,
    policy_rule: Option<String>,
    vouched_by: Option<String>,
    created_at: i64,
    updated_at: i64,
}

/// The base of a built image as the column holds it.
#[derive(Serialize, Deserialize)]
struct BaseColumn {
    id: String,
    name: String,
}

/// The run configuration as the column holds it.
#[derive(Serialize, Deserialize)]
struct RunConfigColumn {
    entrypoint: Vec<String>,
    cmd: Vec<String>,
    env: Vec<String>,
    user: String,
    working_directory: String,
    /// Records of older versions have neither.
    #[serde(default)]
    stop_signal: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

impl Store {
    /// Adds an image.
    pub async fn insert_image(&self, image: &Image) -> Result<(), InsertError> {
        let row = ImageRow::try_from(image)?;
        let failed = InsertError::of("record an image");
        let mut transaction = self.write().await?;
        sqlx::query(
            "INSERT INTO images (id, name, artifact_dir, rootfs_path, kernel_path, initrd_path, modules_dir, \
             kernel_name, source_kind, source, source_digest, run_config, apparent_bytes, on_disk_bytes, \
             packages_sha256, disk_method, disk_recipe, disk_layers, policy_rule, vouched_by, created_at, \
             updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(row.id)
        .bind(row.name)
        .bind(row.artifact_dir)
        .bind(row.rootfs_path)
        .bind(row.kernel_path)
        .bind(row.initrd_path)
        .bind(row.modules_dir)
        .bind(row.kernel_name)
        .bind(row.source_kind)
        .bind(row.source)
        .bind(row.source_digest)
        .bind(row.run_config)
        .bind(row.apparent_bytes)
        .bind(row.on_disk_bytes)
        .bind(row.packages_sha256)
        .bind(row.disk_method)
        .bind(row.disk_recipe)
        .bind(row.disk_layers)
        .bind(row.policy_rule)
        .bind(row.vouched_by)
        .bind(row.created_at)
        .bind(row.updated_at)
        .execute(&mut *transaction)
        .await
        .map_err(&failed)?;
        commit(transaction).await.map_err(failed)
    }

    /// Stores where an image's files lie, how its disk was made, and what it
    /// came from; answers whether there is such an image.
    pub async fn update_image_files(&self, image: &Image) -> Result<bool, StoreError> {
        let row = ImageRow::try_from(image)?;
        let failed = StoreError::query("update an image's record");
        let mut transaction = self.write().await?;
        let done = sqlx::query(
            "UPDATE images SET artifact_dir = ?, rootfs_path = ?, kernel_path = ?, initrd_path = ?, \
             modules_dir = ?, source_kind = ?, source = ?, source_digest = ?, apparent_bytes = ?, \
             on_disk_bytes = ?, disk_method = ?, disk_recipe = ?, disk_layers = ?, updated_at = ? WHERE id = ?",
        )
        .bind(row.artifact_dir)
        .bind(row.rootfs_path)
        .bind(row.kernel_path)
        .bind(row.initrd_path)
        .bind(row.modules_dir)
        .bind(row.source_kind)
        .bind(row.source)
        .bind(row.source_digest)
        .bind(row.apparent_bytes)
        .bind(row.on_disk_bytes)
        .bind(row.disk_method)
        .bind(row.disk_recipe)
        .bind(row.disk_layers)
        .bind(row.updated_at)
        .bind(row.id)
        .execute(&mut *transaction)
        .await
        .map_err(&failed)?;
        commit(transaction).await.map_err(failed)?;
        Ok(done.rows_affected() != 0)
    }

    /// Every image, by name.
    pub async fn images(&self) -> Result<Vec<Image>, StoreError> {
        let rows: Vec<ImageRow> = sqlx::query_as("SELECT * FROM images ORDER BY name")
            .fetch_all(&self.reader)
            .await
            .map_err(StoreError::query("read the records of images"))?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// Images whose source has this digest, by name.
    pub async fn images_of(&self, source: &Digest) -> Result<Vec<Image>, StoreError> {
        let statement = "SELECT * FROM images WHERE source_digest = ? ORDER BY name";
        let rows: Vec<ImageRow> = sqlx::query_as(statement)
            .bind(source.to_string())
            .fetch_all(&self.reader)
            .await
            .map_err(StoreError::query("look up images of a source"))?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// The image a selector means.
    pub async fn find_image(&self, selector: &Selector) -> Result<Found<Image>, StoreError> {
        let rows: Vec<ImageRow> = sqlx::query_as(
            "SELECT * FROM images WHERE name = ?1 OR id = ?1 \
             OR (?2 AND (id LIKE ?1 || '%' OR id LIKE '%' || ?1)) ORDER BY name = ?1 DESC, id = ?1 DESC LIMIT 2",
        )
        .bind(selector.as_str())
        .bind(selector.may_be_id_part())
        .fetch_all(&self.reader)
        .await
        .map_err(StoreError::query("look up an image"))?;
        let exact = |row: &ImageRow| row.name == selector.as_str() || row.id == selector.as_str();
        Found::choose(rows, exact).try_map(TryInto::try_into)
    }

    /// Whether an image has that name.
    pub async fn is_image_name(&self, name: &ImageName) -> Result<bool, StoreError> {
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM images WHERE name = ?)")
            .bind(name.as_str())
            .fetch_one(&self.reader)
            .await
            .map_err(StoreError::query("look up an image's name"))
    }

    /// Removes an image's record; answers whether there was one. Fails while a
    /// VM uses it.
    pub async fn delete_image(&self, id: ImageId) -> Result<bool, StoreError> {
        let statement = "DELETE FROM images WHERE id = ?";
        self.delete(statement, &id.to_string(), "delete an image's record")
            .await
    }

    /// The VMs that use an image, by name.
    pub async fn vms_of_image(&self, id: ImageId) -> Result<Vec<VmName>, StoreError> {
        let names: Vec<String> =
            sqlx::query_scalar("SELECT name FROM vms WHERE image_id = ? ORDER BY name")
                .bind(id.to_string())
                .fetch_all(&self.reader)
                .await
                .map_err(StoreError::query("find the VMs of an image"))?;
        names.iter().map(|name| parse("a VM", name)).collect()
    }
}

impl TryFrom<&Image> for ImageRow {
    type Error = StoreError;

    fn try_from(image: &Image) -> Result<Self, StoreError> {
        let (source_kind, source, source_digest) = origin_columns(image)?;
        Ok(Self {
            id: image.id.to_string(),
            name: image.name.to_string(),
            artifact_dir: image.artifact_directory.as_ref().map(ToString::to_string),
            rootfs_path: image.rootfs.to_string(),
            kernel_path: image.boot.kernel.to_string(),
            initrd_path: image.boot.initrd.as_ref().map(ToString::to_string),
            modules_dir: image.boot.modules.as_ref().map(ToString::to_string),
            kernel_name: image.kernel.as_ref().map(ToString::to_string),
            source_kind: source_kind.to_owned(),
            source,
            source_digest,
            run_config: run_config_column(&image.name, &image.run_config)?,
            apparent_bytes: from_bytes(image.sizes.apparent),
            on_disk_bytes: from_bytes(image.sizes.on_disk),
            packages_sha256: image.package_hash.clone(),
            disk_method: image.disk.method.map(|method| method.as_str().to_owned()),
            disk_recipe: image.disk.recipe.clone(),
            disk_layers: layers_column(&image.name, &image.disk.layers)?,
            policy_rule: image.verdict.as_ref().map(|verdict| verdict.rule.clone()),
            vouched_by: (image.verdict.as_ref()).map(|verdict| verdict.vouched.to_string()),
            created_at: from_time(image.created),
            updated_at: from_time(image.updated),
        })
    }
}

impl TryFrom<ImageRow> for Image {
    type Error = StoreError;

    fn try_from(row: ImageRow) -> Result<Self, StoreError> {
        let object = format!("image {}", row.name);
        Ok(Self {
            id: parse(&object, &row.id)?,
            name: parse(&object, &row.name)?,
            origin: origin(&object, &row)?,
            kernel: parse_optional(&object, row.kernel_name.as_deref())?,
            run_config: run_config(&object, &row.run_config)?,
            sizes: ImageSizes {
                apparent: to_bytes(&object, row.apparent_bytes)?,
                on_disk: to_bytes(&object, row.on_disk_bytes)?,
            },
            artifact_directory: row.artifact_dir.map(Into::into),
            rootfs: row.rootfs_path.into(),
            boot: BootArtifacts {
                kernel: row.kernel_path.into(),
                initrd: row.initrd_path.map(Into::into),
                modules: row.modules_dir.map(Into::into),
            },
            package_hash: row.packages_sha256,
            disk: DiskProvenance {
                method: disk_method(&object, row.disk_method.as_deref())?,
                recipe: row.disk_recipe,
                layers: layers(&object, row.disk_layers.as_deref())?,
            },
            verdict: verdict(&object, row.policy_rule, row.vouched_by.as_deref())?,
            created: to_time(row.created_at),
            updated: to_time(row.updated_at),
        })
    }
}

/// Kind, source and digest.
type OriginColumns = (&'static str, Option<String>, Option<String>);

fn origin_columns(image: &Image) -> Result<OriginColumns, StoreError> {
    Ok(match &image.origin {
        ImageOrigin::Registered => ("registered", None, None),
        ImageOrigin::Promoted => ("promoted", None, None),
        ImageOrigin::Oci {
            reference,
            manifest,
        } => ("oci", Some(reference.clone()), Some(manifest.to_string())),
        ImageOrigin::Built {
            base,
            base_name,
            input,
        } => {
            let column = BaseColumn {
                id: base.to_string(),
                name: base_name.to_string(),
            };
            let column = to_json(&format!("image {}", image.name), &column)?;
            ("built", Some(column), Some(input.to_string()))
        }
        ImageOrigin::Containerfile { path, manifest } => (
            "containerfile",
            Some(path.to_string()),
            Some(manifest.to_string()),
        ),
        ImageOrigin::Bundle { reference, sha256 } => {
            ("bundle", Some(reference.clone()), Some(sha256.to_string()))
        }
    })
}

fn origin(object: &str, row: &ImageRow) -> Result<ImageOrigin, StoreError> {
    match (row.source_kind.as_str(), &row.source, &row.source_digest) {
        ("registered", None, None) => Ok(ImageOrigin::Registered),
        ("promoted", None, None) => Ok(ImageOrigin::Promoted),
        ("oci", Some(reference), Some(digest)) => Ok(ImageOrigin::Oci {
            reference: reference.clone(),
            manifest: parse(object, digest)?,
        }),
        ("built", Some(base), Some(digest)) => {
            let base: BaseColumn = from_json(object, base)?;
            Ok(ImageOrigin::Built {
                base: parse(object, &base.id)?,
                base_name: parse(object, &base.name)?,
                input: parse(object, digest)?,
            })
        }
        ("containerfile", Some(path), Some(digest)) => Ok(ImageOrigin::Containerfile {
            path: path.into(),
            manifest: parse(object, digest)?,
        }),
        ("bundle", Some(reference), Some(digest)) => Ok(ImageOrigin::Bundle {
            reference: reference.clone(),
            sha256: parse(object, digest)?,
        }),
        (kind, ..) => Err(StoreError::damaged(
            object,
            &format!("source {kind:?} is not valid"),
        )),
    }
}

fn disk_method(object: &str, column: Option<&str>) -> Result<Option<DiskMethod>, StoreError> {
    let Some(column) = column else {
        return Ok(None);
    };
    let mut known = DiskMethod::ALL.into_iter();
    let method = known.find(|method| method.as_str() == column);
    let unknown = || StoreError::damaged(object, &format!("disk method {column:?} is unknown"));
    method.map(Some).ok_or_else(unknown)
}

fn layers_column(name: &ImageName, layers: &[Digest]) -> Result<Option<String>, StoreError> {
    if layers.is_empty() {
        return Ok(None);
    }
    let layers: Vec<String> = layers.iter().map(Digest::to_string).collect();
    to_json(&format!("image {name}"), &layers).map(Some)
}

fn layers(object: &str, column: Option<&str>) -> Result<Vec<Digest>, StoreError> {
    let column = column.map(|column| from_json::<Vec<String>>(object, column));
    let layers = column.transpose()?.unwrap_or_default();
    layers.iter().map(|layer| parse(object, layer)).collect()
}

fn run_config_column(name: &ImageName, config: &RunConfig) -> Result<String, StoreError> {
    let column = RunConfigColumn {
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        env: config.env.clone(),
        user: config.user.clone(),
        working_directory: config.working_directory.clone(),
        stop_signal: config.stop_signal.clone(),
        labels: config.labels.clone(),
    };
    to_json(&format!("image {name}"), &column)
}

fn run_config(object: &str, column: &str) -> Result<RunConfig, StoreError> {
    let column: RunConfigColumn = from_json(object, column)?;
    Ok(RunConfig {
        entrypoint: column.entrypoint,
        cmd: column.cmd,
        env: column.env,
        user: column.user,
        working_directory: column.working_directory,
        stop_signal: column.stop_signal,
        labels: column.labels,
    })
}

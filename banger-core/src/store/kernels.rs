//! Kernel records.

use camino::Utf8PathBuf;
use sqlx::{FromRow, Sqlite, Transaction};

use super::{
    InsertError, Store, StoreError, commit,
    row::{from_time, parse, to_time, verdict},
};
use crate::domain::{BootArtifacts, ImageName, Kernel, KernelName, KernelOrigin};

const DELETE: &str = "DELETE FROM kernels WHERE name = ?";

#[derive(FromRow)]
struct KernelRow {
    name: String,
    distribution: Option<String>,
    architecture: String,
    version: String,
    sha256: String,
    source_kind: String,
    source: String,
    directory: String,
    initrd_path: Option<String>,
    modules_dir: Option<String>,
    policy_rule: Option<String>,
    vouched_by: Option<String>,
    imported_at: i64,
}

impl Store {
    /// Adds a kernel.
    pub async fn insert_kernel(&self, kernel: &Kernel) -> Result<(), InsertError> {
        let mut transaction = self.write().await?;
        let failed = InsertError::of("record a kernel");
        let inserted = insert(&mut transaction, kernel).await;
        inserted.map_err(&failed)?;
        commit(transaction).await.map_err(failed)
    }

    /// Puts a kernel in the place of the one that has its name, if there is
    /// one. Fails while an image refers to that.
    pub async fn replace_kernel(&self, kernel: &Kernel) -> Result<(), StoreError> {
        let failed = StoreError::query("replace a kernel's record");
        let mut transaction = self.write().await?;
        let deleted = sqlx::query(DELETE).bind(kernel.name.as_str());
        let deleted = deleted.execute(&mut *transaction).await;
        deleted.map_err(&failed)?;
        let inserted = insert(&mut transaction, kernel).await;
        inserted.map_err(&failed)?;
        commit(transaction).await.map_err(failed)
    }

    /// The kernel of that name.
    pub async fn kernel(&self, name: &KernelName) -> Result<Option<Kernel>, StoreError> {
        let row: Option<KernelRow> = sqlx::query_as("SELECT * FROM kernels WHERE name = ?")
            .bind(name.as_str())
            .fetch_optional(&self.reader)
            .await
            .map_err(StoreError::query("read a kernel's record"))?;
        row.map(TryInto::try_into).transpose()
    }

    /// Every kernel, by name.
    pub async fn kernels(&self) -> Result<Vec<Kernel>, StoreError> {
        let rows: Vec<KernelRow> = sqlx::query_as("SELECT * FROM kernels ORDER BY name")
            .fetch_all(&self.reader)
            .await
            .map_err(StoreError::query("read the records of kernels"))?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// Removes a kernel's record; answers whether there was one. Fails while
    /// an image refers to it.
    pub async fn delete_kernel(&self, name: &KernelName) -> Result<bool, StoreError> {
        self.delete(DELETE, name.as_str(), "delete a kernel's record")
            .await
    }

    /// The images made with that kernel, by name.
    pub async fn images_of_kernel(&self, name: &KernelName) -> Result<Vec<ImageName>, StoreError> {
        let names: Vec<String> =
            sqlx::query_scalar("SELECT name FROM images WHERE kernel_name = ? ORDER BY name")
                .bind(name.as_str())
                .fetch_all(&self.reader)
                .await
                .map_err(StoreError::query("find the images of a kernel"))?;
        names.iter().map(|name| parse("an image", name)).collect()
    }
}

async fn insert(transaction: &mut Transaction<'_, Sqlite>, kernel: &Kernel) -> sqlx::Result<()> {
    let (source_kind, source) = origin_columns(&kernel.origin);
    let verdict = kernel.verdict.as_ref();
    sqlx::query(
        "INSERT INTO kernels (name, distribution, architecture, version, sha256, source_kind, source, \
         directory, initrd_path, modules_dir, policy_rule, vouched_by, imported_at) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(kernel.name.as_str())
    .bind(kernel.distribution.as_deref())
    .bind(&kernel.architecture)
    .bind(&kernel.version)
    .bind(kernel.sha256.to_string())
    .bind(source_kind)
    .bind(source)
    .bind(kernel.directory.as_str())
    .bind(kernel.boot.initrd.as_ref().map(|path| path.as_str()))
    .bind(kernel.boot.modules.as_ref().map(|path| path.as_str()))
    .bind(verdict.map(|verdict| verdict.rule.clone()))
    .bind(verdict.map(|verdict| verdict.vouched.to_string()))
    .bind(from_time(kernel.imported))
    .execute(&mut **transaction)
    .await
    .map(drop)
}

fn origin_columns(origin: &KernelOrigin) -> (&'static str, String) {
    match origin {
        KernelOrigin::Directory(path) => ("dir", path.to_string()),
        KernelOrigin::DebFile(path) => ("deb", path.to_string()),
        KernelOrigin::AptPackage(package) => ("apt", package.clone()),
        KernelOrigin::File(path) => ("file", path.to_string()),
        KernelOrigin::Bundle(reference) => ("bundle", reference.to_string()),
    }
}

impl TryFrom<KernelRow> for Kernel {
    type Error = StoreError;

    fn try_from(row: KernelRow) -> Result<Self, StoreError> {
        let object = format!("kernel {}", row.name);
        let directory = Utf8PathBuf::from(row.directory);
        Ok(Self {
            name: parse(&object, &row.name)?,
            distribution: row.distribution,
            architecture: row.architecture,
            version: row.version,
            sha256: parse(&object, &row.sha256)?,
            origin: origin(&object, &row.source_kind, row.source)?,
            boot: BootArtifacts {
                kernel: directory.join("vmlinux"),
                initrd: row.initrd_path.map(Into::into),
                modules: row.modules_dir.map(Into::into),
            },
            directory,
            verdict: verdict(&object, row.policy_rule, row.vouched_by.as_deref())?,
            imported: to_time(row.imported_at),
        })
    }
}

fn origin(object: &str, kind: &str, source: String) -> Result<KernelOrigin, StoreError> {
    Ok(match kind {
        "dir" => KernelOrigin::Directory(source.into()),
        "deb" => KernelOrigin::DebFile(source.into()),
        "apt" => KernelOrigin::AptPackage(source),
        "file" => KernelOrigin::File(source.into()),
        "bundle" => KernelOrigin::Bundle(parse(object, &source)?),
        _ => {
            return Err(StoreError::damaged(
                object,
                &format!("source kind {kind:?} is unknown"),
            ));
        }
    })
}

//! The users that jailed VMMs run as (`migrations/0070_jail_ids.sql`).
//!
//! Invariants: an id belongs to one VM; it is free again with the change of the
//! record that says that the VM's machine is gone, which the database sees to
//! itself.

use super::{Store, StoreError, commit};
use crate::domain::VmId;

impl Store {
    /// Reserves a user from `first` to `last` for a VM that is about to run: the
    /// first free one from that on which `from` leads to, so that one that was
    /// let go of is not soon another's. None when all are taken.
    pub async fn reserve_jail_id(
        &self,
        vm: VmId,
        (first, last): (u32, u32),
        from: u32,
    ) -> Result<Option<u32>, StoreError> {
        let failed = StoreError::query("reserve a jail's user");
        let mut transaction = self.write().await?;
        let taken: Vec<i64> =
            sqlx::query_scalar("SELECT id FROM jail_ids WHERE id BETWEEN ? AND ? AND vm_id <> ?")
                .bind(first)
                .bind(last)
                .bind(vm.to_string())
                .fetch_all(&mut *transaction)
                .await
                .map_err(&failed)?;
        let Some(id) = free(&taken, (first, last), from) else {
            return Ok(None);
        };
        sqlx::query("INSERT OR REPLACE INTO jail_ids (id, vm_id) VALUES (?, ?)")
            .bind(id)
            .bind(vm.to_string())
            .execute(&mut *transaction)
            .await
            .map_err(&failed)?;
        commit(transaction).await.map_err(failed)?;
        Ok(Some(id))
    }

    /// Every reserved user, with its VM, in order.
    pub async fn jail_ids(&self) -> Result<Vec<(u32, VmId)>, StoreError> {
        let failed = StoreError::query("read the users of jails");
        let rows: Vec<(u32, String)> = sqlx::query_as("SELECT id, vm_id FROM jail_ids ORDER BY id")
            .fetch_all(&self.reader)
            .await
            .map_err(failed)?;
        let pair = |(id, vm): (u32, String)| {
            let object = format!("user {id} of a jail");
            Ok((id, super::row::parse(&object, &vm)?))
        };
        rows.into_iter().map(pair).collect()
    }
}

/// The first id that is not taken, from where `from` leads to and around.
fn free(taken: &[i64], (first, last): (u32, u32), from: u32) -> Option<u32> {
    let count = u64::from(last.checked_sub(first)?) + 1;
    let all = (0..count).map(|step| (u64::from(from) + step) % count);
    let mut ids = all.filter_map(|offset| u32::try_from(u64::from(first) + offset).ok());
    ids.find(|id| !taken.contains(&i64::from(*id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_starts_anywhere_and_finds_the_last_one() {
        assert_eq!(free(&[], (1000, 1003), 0), Some(1000));
        assert_eq!(free(&[], (1000, 1003), 6), Some(1002));
        assert_eq!(free(&[1002, 1003, 1000], (1000, 1003), 2), Some(1001));
        assert_eq!(free(&[1000, 1001], (1000, 1001), 7), None);
        assert_eq!(
            free(&[], (u32::MAX - 1, u32::MAX - 1), u32::MAX),
            Some(u32::MAX - 1)
        );
    }
}

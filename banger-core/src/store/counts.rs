//! How much there is of what.

use super::{Store, StoreError};

impl Store {
    /// How many VMs are in each state that any is in.
    pub async fn count_vms(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT state, count(*) FROM vms GROUP BY state ORDER BY state")
                .fetch_all(&self.reader)
                .await
                .map_err(StoreError::query("count VMs"))?;
        let counts = rows.into_iter().map(|(state, count)| (state, whole(count)));
        Ok(counts.collect())
    }

    /// How many operations of each kind are in each state that are remembered.
    pub async fn count_operations(&self) -> Result<Vec<(String, String, u64)>, StoreError> {
        let rows: Vec<(String, String, i64)> = sqlx::query_as(
            "SELECT kind, state, count(*) FROM operations GROUP BY kind, state ORDER BY kind, state",
        )
        .fetch_all(&self.reader)
        .await
        .map_err(StoreError::query("count operations"))?;
        let counts = rows.into_iter();
        Ok(counts
            .map(|(kind, state, count)| (kind, state, whole(count)))
            .collect())
    }
}

fn whole(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

//! A host of which something is known.

use async_trait::async_trait;
use banger_core::{
    diagnostics::{Check, Doctor},
    remote::RemoteError,
};

use super::{World, lock};

#[async_trait]
impl Doctor for World {
    async fn diagnose(&self) -> Result<Vec<Check>, RemoteError> {
        self.call("diagnose");
        Ok(lock(&self.checks).clone())
    }
}

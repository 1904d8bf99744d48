//! Reading and merging OCI layers.

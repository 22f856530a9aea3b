//! The stage in plain ATen operations: any device, any floating type. What CUDA runs, and the reference for our kernels.

mod backward;
mod forward;

pub(super) use backward::backward;
pub(super) use forward::forward;

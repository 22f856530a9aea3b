//! State dicts on disk: reading torch's formats without running anything in them, and filling named tensors.
//!
//! bytes → opcodes → inert tree → views (name, dtype, shape, strides, range) → checks → tensors. Knows nothing of
//! networks: [`crate::model`] hands out named tensors, this room fills them.

mod error;
mod state_dict;
mod write;

pub use error::{CheckpointError, Result};
pub use state_dict::{Format, StateDict, TensorView};
pub use write::write_safetensors;

//! State dicts on disk: reading torch's formats without running anything in them, and filling named tensors.
//!
//! bytes → opcodes → inert tree → views (name, dtype, shape, strides, range) → checks → tensors. Knows nothing of
//! networks: [`crate::model`] hands out named tensors, this room fills them.

mod error;
mod infer;
mod load;
mod normalize;
mod prefix;
mod rename;
mod report;
mod find;
mod foreign;
mod foreign_globals;
mod legacy;
mod modules;
mod open;
mod pickle;
mod read_error;
mod recognize;
mod safetensors_file;
mod source;
mod state_dict;
mod storage;
mod tensors;
mod write;
mod suggest;

pub use error::{CheckpointError, Result};
pub use infer::{infer, InferredConfig, InferredStem};
pub use load::{load, Head, LoadOptions};
pub use normalize::{normalize, Dropped, NameOptions, Normalized, NormalizedTensor};
pub use rename::{DropRule, Rename, RenameRule, When, DROPS, RENAMES};
pub use report::{Hint, LoadReport, Misshaped};
mod zip_archive;

pub use error::{CheckpointError, Result};
pub use foreign::ForeignFile;
pub use open::{CheckpointBytes, ReadOptions};
pub use read_error::{MemberProblem, Origin, ReadError};
pub use state_dict::{Format, StateDict, TensorView};
pub use write::write_safetensors;

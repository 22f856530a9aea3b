//! State dicts on disk: reading torch's formats without running anything in them, and filling named tensors.
//!
//! bytes → opcodes → inert tree → views (name, dtype, shape, strides, range) → checks → tensors. Knows nothing of
//! networks: [`crate::model`] hands out named tensors, this room fills them.

mod convert;
mod copy;
mod error;
mod find;
mod foreign;
mod foreign_globals;
mod infer;
mod legacy;
mod limits;
mod load;
mod modules;
mod nearest;
mod normalize;
mod open;
mod pickle;
mod prefix;
mod read_error;
mod recognize;
mod reorder;
mod report;
mod rules;
mod safetensors_file;
mod source;
mod state_dict;
mod storage;
mod suggest;
mod tensors;
mod user_rename;
mod write;
mod zip_archive;

pub use convert::{convert, ConvertOptions, Converted, KeyStyle};
pub use error::{CheckpointError, Result};
pub use foreign::ForeignFile;
pub use infer::{infer, InferredConfig, InferredStem};
pub use load::{load, Head, LoadOptions};
pub use normalize::{normalize, Dropped, NameOptions, Normalized, NormalizedTensor};
pub use open::{CheckpointBytes, ReadOptions};
pub use read_error::{MemberProblem, Origin, ReadError};
pub use report::{Hint, LoadReport, Misshaped};
pub use rules::{Action, InputPreset, Need, OutputLabels, RenameRule, RENAMES};
pub use state_dict::{Format, StateDict, TensorView};
pub(crate) use suggest::distance;
pub use user_rename::Rename;
pub(crate) use write::{begin_script, write_atomically, ScriptModule, ScriptSource};
pub use write::{write, write_pth, write_safetensors, Entry, WriteFormat};

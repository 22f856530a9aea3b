//! Features of many pictures, in a file.

use crate::checkpoint::{self, CheckpointError};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

/// Errors of writing [`Embeddings`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddingsError {
    /// A file in a format that is not written.
    #[error("{} ends in neither .safetensors nor .npy", path.display())]
    Ending {
        /// The file asked for.
        path: PathBuf,
    },
    /// The file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The safetensors file could not be written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A libtorch operation failed.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

/// Rows of features with the pictures' names and, where each has one, its class.
#[derive(Debug, Clone)]
pub struct Embeddings {
    width: usize,
    weights: String,
    names: Vec<String>,
    classes: Vec<Option<String>>,
    values: Vec<f32>,
}

impl Embeddings {
    /// None yet, of `width` features each, made by the weights of that name.
    pub fn new(width: usize, weights: String) -> Self {
        Embeddings { width, weights, names: Vec::new(), classes: Vec::new(), values: Vec::new() }
    }

    /// Adds a picture's features.
    ///
    /// # Panics
    /// On a row of another width.
    pub fn push(&mut self, name: String, class: Option<String>, row: &[f32]) {
        assert_eq!(row.len(), self.width, "features of a picture");
        self.names.push(name);
        self.classes.push(class);
        self.values.extend_from_slice(row);
    }

    /// Pictures.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Features a picture.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The classes in the order of labels, by name; `None` where a picture has none.
    pub fn classes(&self) -> Option<Vec<String>> {
        let classes: Option<BTreeSet<&String>> = self.classes.iter().map(Option::as_ref).collect();
        classes.filter(|classes| !classes.is_empty()).map(|classes| classes.into_iter().cloned().collect())
    }

    /// Checks that [`write`](Self::write) knows a file's format, before anything is computed.
    ///
    /// # Errors
    /// [`EmbeddingsError::Ending`].
    pub fn check_path(path: &Path) -> Result<(), EmbeddingsError> {
        is_npy(path).map(|_| ())
    }

    /// Writes them, whole or not at all.
    ///
    /// - `.safetensors`: `features` [N, C] f32, `labels` \[N\] int64 where there are classes; in the header `names` and
    ///   `classes` (JSON lists) and `weights`.
    /// - `.npy`: the features; beside it, in `NAME.json`, an object of `names`, `labels`, `classes` (both null without
    ///   classes) and `weights`.
    ///
    /// # Errors
    /// [`EmbeddingsError`].
    pub fn write(&self, path: &Path) -> Result<(), EmbeddingsError> {
        let classes = self.classes();
        let labels: Option<Vec<i64>> = classes.as_ref().map(|classes| {
            let place =
                |class: &Option<String>| class.as_ref().and_then(|class| classes.binary_search(class).ok());
            self.classes.iter().map(|class| place(class).unwrap_or_default() as i64).collect()
        });
        if is_npy(path)? {
            let about = serde_json::json!({
                "names": self.names, "labels": labels, "classes": classes, "weights": self.weights
            });
            let beside = path.with_extension("json");
            put(&beside, format!("{about}\n").as_bytes())?;
            return put(path, &self.npy());
        }
        let (rows, width) = (self.names.len() as i64, self.width as i64);
        let features = Tensor::f_from_slice(&self.values)?.f_view([rows, width])?.f_to_kind(Kind::Float)?;
        let mut tensors = vec![("features".to_string(), features)];
        let list = |names: &[String]| serde_json::Value::from(names).to_string();
        let mut metadata = HashMap::from([
            ("names".to_string(), list(&self.names)),
            ("weights".to_string(), self.weights.clone()),
        ]);
        if let (Some(labels), Some(classes)) = (labels, classes) {
            tensors.push(("labels".to_string(), Tensor::f_from_slice(&labels)?));
            metadata.insert("classes".to_string(), list(&classes));
        }
        Ok(checkpoint::write_safetensors(path, &tensors, metadata)?)
    }

    /// numpy's format 1.0: a header that says what follows, padded to 64 bytes, then little-endian f32.
    fn npy(&self) -> Vec<u8> {
        let (rows, width) = (self.names.len(), self.width);
        let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}");
        // Magic, version and length are ten bytes; the header ends with a line break.
        let padded = (10 + header.len() + 1).next_multiple_of(64) - 10;
        header.extend(std::iter::repeat_n(' ', padded - 1 - header.len()));
        header.push('\n');
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(self.values.iter().flat_map(|value| value.to_le_bytes()));
        bytes
    }
}

fn is_npy(path: &Path) -> Result<bool, EmbeddingsError> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("npy") => Ok(true),
        Some("safetensors") => Ok(false),
        _ => Err(EmbeddingsError::Ending { path: path.to_path_buf() }),
    }
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), EmbeddingsError> {
    checkpoint::write_atomically(path, bytes)
        .map_err(|source| EmbeddingsError::Io { path: path.to_path_buf(), source })
}

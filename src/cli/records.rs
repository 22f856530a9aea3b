//! The JSON lines the command prints.

use densenet::checkpoint::{Dropped, Format};
use densenet::evaluate::Evaluation;
use densenet::explain::Method;
use densenet::predictor::Prediction;
use densenet::transforms::ImageClassification;
use densenet::weights::{Entry, Outputs};
use densenet::DenseNetConfig;
use serde::Serialize;

#[derive(Serialize)]
pub struct Classified<'a> {
    pub image: String,
    /// Present where the outputs are independent labels, not classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Outputs>,
    pub predictions: &'a [Prediction],
}

#[derive(Serialize)]
pub struct Unreadable<'a> {
    pub image: String,
    pub error: &'a str,
}

#[derive(Serialize)]
pub struct Inspected<'a> {
    pub format: Format,
    pub root: Option<&'a str>,
    pub stripped_prefix: Option<&'a str>,
    pub origin: Option<String>,
    pub renamed: usize,
    pub dropped: &'a [Dropped],
    pub foreign_globals: &'a [String],
    /// The rules that fired.
    pub rules: Vec<&'static str>,
    /// How pictures become inputs, where the file's origin or sidecar says.
    pub preset: Option<&'a ImageClassification>,
    /// What the outputs mean; null without a network.
    pub outputs: Option<Outputs>,
    /// What the user should know about such files.
    pub notes: Vec<&'static str>,
    pub config: Option<&'a DenseNetConfig>,
    /// Why `config` is null.
    pub config_error: Option<&'a str>,
    pub tensors: Vec<InspectedTensor<'a>>,
}

#[derive(Serialize)]
pub struct InspectedTensor<'a> {
    pub name: &'a str,
    pub dtype: &'static str,
    pub shape: &'a [i64],
}

#[derive(Serialize)]
pub struct Initialized<'a> {
    pub output: String,
    pub config: &'a DenseNetConfig,
    pub seed: i64,
    pub parameters: i64,
}

#[derive(Serialize)]
pub struct Listed {
    #[serde(flatten)]
    pub entry: &'static Entry,
    /// `embedded`, `cached`, `damaged` (a file of the name with other content) or `missing`.
    pub cache: &'static str,
    pub path: Option<String>,
}

#[derive(Serialize)]
pub struct Fetched<'a> {
    pub name: &'a str,
    /// Null for weights that are part of the command.
    pub path: Option<&'a str>,
}

#[derive(Serialize)]
pub struct NotFetched<'a> {
    pub name: &'a str,
    pub error: &'a str,
}

#[derive(Serialize)]
pub struct Conversion<'a> {
    pub input: &'a str,
    pub output: String,
    pub format: Format,
    /// Of the file written.
    pub bytes: u64,
    pub tensors: Vec<ConvertedTensors>,
    pub stripped_prefix: Option<&'a str>,
    pub origin: Option<&'a str>,
    pub renamed: usize,
    pub dropped: &'a [Dropped],
    /// The sidecar written beside it.
    pub sidecar: Option<String>,
}

#[derive(Serialize)]
pub struct ConvertedTensors {
    pub dtype: &'static str,
    pub count: usize,
}

#[derive(Serialize)]
pub struct Exported<'a> {
    pub output: String,
    pub bytes: u64,
    pub config: &'a DenseNetConfig,
    /// The input's shape, -1 where any size will do.
    pub input: [i64; 4],
    /// Smallest height and width.
    pub min_size: i64,
    /// The exported module's logits and this network's, on this device.
    pub max_abs: f64,
    /// Files inside the archive.
    pub extra_files: [&'static str; 1],
}

#[derive(Serialize)]
pub struct Explained<'a> {
    pub image: String,
    pub class: &'a Prediction,
    pub method: Method,
    pub output: String,
    /// Row by row, of `norm5`'s size and no particular scale.
    pub map: Vec<Vec<f32>>,
}

#[derive(Serialize)]
pub struct Embedded {
    pub output: String,
    pub images: usize,
    pub features: usize,
    /// In the order of the labels; null where not every picture lies in a class's folder.
    pub classes: Option<Vec<String>>,
}

#[derive(Serialize)]
pub struct Reported<'a> {
    /// The page.
    pub output: &'a str,
    /// Null without validation pictures.
    pub evaluation: Option<&'a Evaluation>,
}

//! A network with its transforms and class names, ready to use from any number of threads.
//!
//! [`Predictor`] runs in evaluation mode, records no gradients and never changes: one value serves a whole process.
//! Uses `model`, `weights` and `transforms`.

mod embeddings;
mod stream;

pub use embeddings::{Embeddings, EmbeddingsError};
pub use stream::{embed_files, FilePrediction, StreamOptions};

use crate::explain::{class_activation, Activation, ExplainError, Method};
use crate::model::{DenseNet, DenseNetConfig, Init, ModelError};
use crate::transforms::{self, ImageClassification, RgbImage, TransformError};
use crate::weights::{self, LoadedNetwork, NetworkOptions, Outputs, WeightsError, WeightsSource};
use serde::Serialize;
use tch::{nn, no_grad_guard, Device, Kind, Tensor};

/// Errors of [`Predictor`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PredictError {
    /// The weights could not be loaded.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A picture could not be read or transformed.
    #[error(transparent)]
    Transform(#[from] TransformError),
    /// The network refused its input.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A class could not be explained.
    #[error(transparent)]
    Explain(#[from] ExplainError),
    /// The transforms make tensors with other channels than the network takes.
    #[error("the transforms make {transforms} channels, the network takes {network}: give the weights a sidecar (NAME.json) whose transforms have {network}")]
    Channels {
        /// Channels of the transforms' output.
        transforms: u32,
        /// Channels of the network's input.
        network: i64,
    },
    /// A libtorch operation failed.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

/// `Result` of [`Predictor`].
pub type Result<T> = std::result::Result<T, PredictError>;

/// One class and how likely it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// The class's number, from 0.
    pub index: usize,
    /// Its name; `class N` where the weights have no names.
    pub label: String,
    /// 0 to 1: a softmax over all classes, or, of independent labels, each one's sigmoid.
    pub probability: f64,
}

/// Weights, configuration, transforms and class names in one value.
///
/// ```no_run
/// // (needs a checkpoint file)
/// use densenet::tch::Device;
/// use densenet::{transforms, Predictor};
///
/// let predictor = Predictor::open("densenet121-a639ec97.pth", Device::Cpu)?;
/// let picture = transforms::open("cat.jpg")?;
/// for best in &predictor.predict(&[picture], 5)?[0] {
///     println!("{:5.1} %  {}", 100.0 * best.probability, best.label);
/// }
/// # Ok::<(), densenet::Error>(())
/// ```
#[derive(Debug)]
pub struct Predictor {
    network: DenseNet,
    transforms: ImageClassification,
    categories: Vec<String>,
    outputs: Outputs,
    notes: Vec<String>,
}

// SAFETY: `tch::Tensor` is a pointer to a reference-counted C++ tensor and not `Sync`, because through `&Tensor` one
// thread could write what another reads. Nothing reachable through `&Predictor` writes to its tensors:
// - they are its own: `new` copies every tensor, `load` makes them; no field is public and no method hands out the
//   network or a tensor that shares memory with it, so nobody else can write to them or change their metadata;
// - its methods run the network in evaluation mode, which reads parameters and statistics and writes neither, under
//   a `no_grad` guard and with `requires_grad` off, so that not even autograd's metadata is attached to them. `explain`
//   records the head alone, from a tensor of its own; the recorded operations read the classifier and need no gradient
//   of it;
// - libtorch allows concurrent reads of one tensor (reference counts and version counters are atomic), and tch's slot
//   for C++ errors is thread-local.
#[allow(unsafe_code)]
unsafe impl Sync for Predictor {}

const _: () = {
    const fn shared_between_threads<T: Send + Sync>() {}
    shared_between_threads::<Predictor>();
};

impl Predictor {
    /// Opens weights by file or name (see [`WeightsSource::resolve`]).
    ///
    /// # Errors
    /// [`PredictError::Weights`], [`PredictError::Channels`].
    pub fn open(weights: &str, device: Device) -> Result<Self> {
        Self::load(&WeightsSource::resolve(weights)?, device)
    }

    /// Opens weights.
    ///
    /// # Errors
    /// [`PredictError::Weights`] (weights without a classifier included), [`PredictError::Channels`].
    pub fn load(source: &WeightsSource, device: Device) -> Result<Self> {
        Self::load_with(source, device, &NetworkOptions::default())
    }

    /// As [`Predictor::load`], with what the caller knows of the weights.
    ///
    /// # Errors
    /// As there.
    pub fn load_with(source: &WeightsSource, device: Device, options: &NetworkOptions) -> Result<Self> {
        let LoadedNetwork { network, description, .. } = source.load_with(device, options)?;
        if network.classifier.is_none() {
            let features = network.config.num_features();
            let (name, notes) = (source.name(), description.notes);
            return Err(WeightsError::NoClassifier { name, features, notes }.into());
        }
        let transforms = description.transforms.unwrap_or_default();
        let own = Self::own(network, transforms, description.categories)?.with_outputs(description.outputs);
        Ok(Predictor { notes: description.notes, ..own })
    }

    /// A predictor with a copy of the network's tensors as they are now, on the same device and in the same dtype.
    ///
    /// # Errors
    /// [`PredictError::Channels`], [`PredictError::Weights`] for a wrong number of names, or libtorch's own.
    pub fn new(network: &DenseNet, transforms: ImageClassification, categories: Vec<String>) -> Result<Self> {
        let from = network.named_tensors();
        let (device, kind) = (from[0].1.device(), from[0].1.kind());
        let mut vs = nn::VarStore::new(device);
        vs.set_kind(kind);
        let copy = DenseNet::with_init(&vs.root(), &network.config, Init::Empty)?;
        {
            let _guard = no_grad_guard();
            for ((_, mut to), (_, from)) in copy.named_tensors().into_iter().zip(from) {
                // Not copy_: the copy takes over dtype and memory format too.
                to.set_data(&from.f_detach()?.copy());
            }
        }
        Self::own(copy, transforms, Vec::new())?.with_categories(categories)
    }

    /// The same with other class names, in the classifier's order; none for numbered classes.
    ///
    /// # Errors
    /// [`PredictError::Weights`] for a wrong number of names.
    pub fn with_categories(mut self, categories: Vec<String>) -> Result<Self> {
        weights::check_count("the list", &categories, self.config().num_classes)?;
        self.categories = categories;
        Ok(self)
    }

    /// The same with another meaning of the outputs; [`Predictor::new`] takes them for classes.
    pub fn with_outputs(mut self, outputs: Outputs) -> Self {
        self.outputs = outputs;
        self
    }

    /// Takes a network whose tensors nobody else holds.
    fn own(network: DenseNet, transforms: ImageClassification, categories: Vec<String>) -> Result<Self> {
        transforms.validate()?;
        if i64::from(transforms.channels) != network.config.in_channels {
            let (transforms, network) = (transforms.channels, network.config.in_channels);
            return Err(PredictError::Channels { transforms, network });
        }
        for (_, tensor) in network.named_tensors() {
            if tensor.requires_grad() {
                let _ = tensor.set_requires_grad(false);
            }
        }
        Ok(Predictor { network, transforms, categories, outputs: Outputs::Classes, notes: Vec::new() })
    }

    /// The network's configuration.
    pub fn config(&self) -> &DenseNetConfig {
        &self.network.config
    }

    /// How pictures become inputs.
    pub fn transforms(&self) -> &ImageClassification {
        &self.transforms
    }

    /// Class names in the classifier's order; empty where the weights have none.
    pub fn categories(&self) -> &[String] {
        &self.categories
    }

    /// What the user should know about weights of this origin.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What the outputs mean.
    pub fn outputs(&self) -> Outputs {
        self.outputs
    }

    /// A class's name; `class N` where the weights have no names.
    pub fn label(&self, index: usize) -> String {
        self.categories.get(index).cloned().unwrap_or_else(|| format!("class {index}"))
    }

    /// The `top_k` likeliest classes of each picture, likeliest first. Pictures of unequal size run one by one where
    /// the transforms do not crop them to one size.
    ///
    /// # Errors
    /// [`PredictError::Transform`], [`PredictError::Model`] (a picture too small, say), or libtorch's own.
    pub fn predict(&self, pictures: &[RgbImage], top_k: usize) -> Result<Vec<Vec<Prediction>>> {
        let inputs = pictures.iter().map(|picture| self.transforms.apply(picture));
        let inputs = inputs.collect::<std::result::Result<Vec<_>, _>>()?;
        let mut predictions = Vec::with_capacity(inputs.len());
        for run in inputs.chunk_by(|a, b| a.size() == b.size()) {
            predictions.extend(self.predict_run(run, top_k)?);
        }
        Ok(predictions)
    }

    /// Inputs of one shape, each [C, H, W].
    fn predict_run(&self, run: &[Tensor], top_k: usize) -> Result<Vec<Vec<Prediction>>> {
        self.top_k(&self.predict_tensor(&transforms::batch(run)?)?, top_k)
    }

    /// Transformed pictures to logits: [N, in_channels, H, W] in the network's dtype to [N, num_classes]. The input is
    /// moved to the network's device; the logits stay there.
    ///
    /// # Errors
    /// [`PredictError::Model`] says what input the network takes; or libtorch's own.
    pub fn predict_tensor(&self, inputs: &Tensor) -> Result<Tensor> {
        let _guard = no_grad_guard();
        Ok(self.network.try_forward(&inputs.f_to(self.network.device())?, false)?)
    }

    /// Transformed pictures to pooled features: [N, in_channels, H, W] in the network's dtype to [N, C], what the
    /// classifier is given. timm: `forward_head(…, pre_logits=True)`.
    ///
    /// # Errors
    /// As [`Predictor::predict_tensor`].
    pub fn features(&self, inputs: &Tensor) -> Result<Tensor> {
        pooled_features(&self.network, inputs)
    }

    /// Where the network sees a class (the likeliest one for `None`) in a picture.
    ///
    /// # Errors
    /// [`PredictError::Transform`], [`PredictError::Explain`].
    pub fn explain(&self, picture: &RgbImage, class: Option<i64>, method: Method) -> Result<Activation> {
        let input = self.transforms.apply(picture)?.f_unsqueeze(0)?;
        let input =
            input.f_to_kind(self.network.features.norm5.weight.kind())?.f_to(self.network.device())?;
        Ok(class_activation(&self.network, &input, class, method)?)
    }

    /// Logits [N, num_classes] to each row's `top_k` likeliest classes or labels. An output whose name is empty was never
    /// trained, and is never among them.
    ///
    /// # Errors
    /// libtorch's own, on a tensor of another rank.
    pub fn top_k(&self, logits: &Tensor, top_k: usize) -> Result<Vec<Vec<Prediction>>> {
        let _guard = no_grad_guard();
        let (rows, classes) = logits.size2()?;
        let untrained: Vec<i64> = (0..classes)
            .filter(|index| self.categories.get(*index as usize).is_some_and(String::is_empty))
            .collect();
        let k = (top_k as i64).min(classes - untrained.len() as i64);
        let mut probabilities = self.probabilities(logits)?;
        if !untrained.is_empty() {
            let untrained = Tensor::f_from_slice(&untrained)?.f_to_device(logits.device())?;
            probabilities = probabilities.f_index_fill(-1, &untrained, -1.0)?;
        }
        let (values, indices) = probabilities.f_topk(k, -1, true, true)?;
        let values: Vec<f64> = Vec::try_from(values.f_reshape([-1])?)?;
        let indices: Vec<i64> = Vec::try_from(indices.f_reshape([-1])?)?;
        let best = |row: i64| {
            let range = (row * k) as usize..((row + 1) * k) as usize;
            let pairs = indices[range.clone()].iter().zip(&values[range]);
            pairs.map(|(&index, &probability)| self.prediction(index as usize, probability)).collect()
        };
        Ok((0..rows).map(best).collect())
    }

    /// What logits \[num_classes\] say of one class.
    ///
    /// # Errors
    /// libtorch's own, on another shape or a class past the end.
    pub fn rated(&self, logits: &Tensor, class: usize) -> Result<Prediction> {
        let probabilities = self.probabilities(logits)?;
        Ok(self.prediction(class, probabilities.f_get(class as i64)?.f_double_value(&[])?))
    }

    /// A softmax or a sigmoid, as the outputs mean, in f64.
    fn probabilities(&self, logits: &Tensor) -> Result<Tensor> {
        let _guard = no_grad_guard();
        Ok(match self.outputs {
            Outputs::Classes => logits.f_softmax(-1, Kind::Double)?,
            Outputs::Labels => logits.f_to_kind(Kind::Double)?.f_sigmoid()?,
        })
    }

    fn prediction(&self, index: usize, probability: f64) -> Prediction {
        Prediction { index, label: self.label(index), probability }
    }
}

/// [N, in_channels, H, W] to [N, C].
fn pooled_features(network: &DenseNet, inputs: &Tensor) -> Result<Tensor> {
    let _guard = no_grad_guard();
    let features = network.forward_features(&inputs.f_to(network.device())?, false)?;
    Ok(network.forward_head(&features, true)?)
}

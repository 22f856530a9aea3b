//! What can go wrong in `autograd`.

use std::error::Error;

/// An error of a [`Function`](super::Function)'s own code, of any type.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The two passes of a [`Function`](super::Function).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// [`Function::forward`](super::Function::forward).
    Forward,
    /// [`Function::backward`](super::Function::backward).
    Backward,
}

impl std::fmt::Display for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Pass::Forward => "forward",
            Pass::Backward => "backward",
        })
    }
}

/// Errors of [`crate::autograd`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AutogradError {
    /// The function's own code returned an error.
    #[error("{function}: {pass} failed")]
    Failed {
        /// [`Function::NAME`](super::Function::NAME).
        function: &'static str,
        /// Where.
        pass: Pass,
        /// What it returned.
        source: BoxError,
    },
    /// The function's own code panicked.
    #[error("{function}: {pass} panicked: {message}")]
    Panicked {
        /// [`Function::NAME`](super::Function::NAME).
        function: &'static str,
        /// Where.
        pass: Pass,
        /// The panic's words.
        message: String,
    },
    /// A saved tensor was written to after it was saved. torch: "modified by an inplace operation".
    #[error(
        "{function}: saved tensor {index} was changed in place after it was saved (version {saved}, now {now}): do that \
         after backward, or on a copy"
    )]
    SavedTensorChanged {
        /// [`Function::NAME`](super::Function::NAME).
        function: &'static str,
        /// Which, in the order they were saved.
        index: usize,
        /// Its version when it was saved.
        saved: i64,
        /// Its version now.
        now: i64,
    },
    /// A second backward over a graph whose saved tensors the first one freed.
    #[error(
        "{function}: its saved tensors are freed: to go backward through one graph again, run the first pass with \
         `retain_graph`"
    )]
    Released {
        /// [`Function::NAME`](super::Function::NAME).
        function: &'static str,
    },
    /// There is no saved tensor of that index.
    #[error("{function}: no saved tensor {index}, forward saved {count}")]
    NoSuchSavedTensor {
        /// [`Function::NAME`](super::Function::NAME).
        function: &'static str,
        /// The index as given.
        index: usize,
        /// How many were saved.
        count: usize,
    },
    /// Backward returned another number of gradients than forward has inputs.
    #[error("{function}: backward returned {got} gradients for {expected} inputs: one each, None where there is none")]
    GradientCount {
        /// [`Function::NAME`](super::Function::NAME).
        function: &'static str,
        /// How many came.
        got: usize,
        /// The number of inputs.
        expected: usize,
    },
    /// Forward wrote to an input that takes a gradient.
    #[error("{function}: forward changed input {index} in place, which takes a gradient: work on a copy")]
    InputChanged {
        /// [`Function::NAME`](super::Function::NAME).
        function: &'static str,
        /// Which.
        index: usize,
    },
    /// Forward returned one tensor twice: only one of them could have a gradient.
    #[error("{function}: output {index} is an earlier output again: return a copy or a view of it")]
    RepeatedOutput {
        /// [`Function::NAME`](super::Function::NAME).
        function: &'static str,
        /// The later of the two.
        index: usize,
    },
    /// A tensor marked as not differentiable is none of the outputs.
    #[error(
        "{function}: of the tensors marked as not differentiable, number {index} is no output of forward"
    )]
    NotAnOutput {
        /// [`Function::NAME`](super::Function::NAME).
        function: &'static str,
        /// Which, in the order they were marked.
        index: usize,
    },
    /// A second derivative through a function whose backward is not made of differentiable operations.
    #[error("{function}: its gradient cannot be differentiated again")]
    DifferentiatedTwice {
        /// [`Function::NAME`](super::Function::NAME).
        function: &'static str,
    },
    /// A backward that went backward through its own function.
    #[error(
        "{function}: its backward runs a graph that leads to the same application of the function again"
    )]
    Reentered {
        /// [`Function::NAME`](super::Function::NAME).
        function: &'static str,
    },
    /// A parallel task panicked.
    #[error("parallel task {task} panicked: {message}")]
    TaskPanicked {
        /// The task's index; the first to panic where several did.
        task: usize,
        /// The panic's words.
        message: String,
    },
    /// A check of gradients found one that is wrong.
    #[error(
        "gradient of output {output} by input {input}: element ({output_element}, {input_element}) is {analytic:e}, \
         finite differences give {numeric:e}"
    )]
    WrongGradient {
        /// Index of the output.
        output: usize,
        /// Index of the input.
        input: usize,
        /// Flat index into the output.
        output_element: i64,
        /// Flat index into the input.
        input_element: i64,
        /// What backward gives.
        analytic: f64,
        /// What finite differences give.
        numeric: f64,
    },
    /// A check of gradients needs f64 inputs that take a gradient.
    #[error("input {index} cannot be checked by finite differences: {reason}")]
    NotCheckable {
        /// Index of the input.
        index: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// libtorch refused.
    #[error("libtorch: {message}")]
    Torch {
        /// Its words.
        message: String,
    },
    /// A libtorch operation called through tch failed.
    #[error(transparent)]
    Tch(#[from] tch::TchError),
}

/// `Result` of [`crate::autograd`].
pub type Result<T> = std::result::Result<T, AutogradError>;

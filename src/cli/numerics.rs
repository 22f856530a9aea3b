//! `--numerics`, for every command that runs a network.

use densenet::model::Numerics;

#[derive(clap::Args)]
pub struct NumericsArg {
    /// How the network computes. exact: PyTorch's operations, its logits to the last bit on the same libtorch, processor and
    /// thread count. fused: kernels of our own, two to three times as fast; logits differ by roundings, at most 1e-5 of the
    /// largest; f32 on a CPU, an error elsewhere. auto: fused where that is possible, else exact, and says so
    #[arg(long, default_value_t, value_name = "exact|fused|auto")]
    numerics: Numerics,
}

impl NumericsArg {
    pub fn get(&self) -> Numerics {
        self.numerics
    }
}

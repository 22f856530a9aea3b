//! What a caller wants of the numbers of an inference pass.

use crate::model::error::{ModelError, Result};
use serde::{Deserialize, Serialize};

/// How a network in evaluation mode, without gradients, computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Numerics {
    /// PyTorch's operations in PyTorch's order: its logits to the last bit.
    #[default]
    Exact,
    /// A [`Prepared`](super::Prepared) network: batch norms folded into convolutions, Winograd's 3×3. Logits differ from
    /// exact ones by roundings, about 1e-5 of the largest; a few times faster. f32 on the CPU; an error elsewhere.
    Fused,
    /// `Fused` where it is possible, else `Exact`.
    Auto,
}

impl Numerics {
    /// All of them.
    pub const ALL: [Numerics; 3] = [Numerics::Exact, Numerics::Fused, Numerics::Auto];

    const NAMES: &'static str = "exact, fused, auto";

    /// `exact`, `fused` or `auto`.
    pub fn name(self) -> &'static str {
        match self {
            Numerics::Exact => "exact",
            Numerics::Fused => "fused",
            Numerics::Auto => "auto",
        }
    }
}

impl std::fmt::Display for Numerics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// From [`Numerics::name`].
impl std::str::FromStr for Numerics {
    type Err = ModelError;
    fn from_str(name: &str) -> Result<Numerics> {
        Numerics::ALL
            .into_iter()
            .find(|numerics| numerics.name() == name)
            .ok_or_else(|| ModelError::UnknownNumerics { name: name.to_string(), known: Numerics::NAMES })
    }
}

//! Weights that are part of the crate.

/// Weights compiled into the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Embedded {
    /// DenseNet-BC (L = 40, k = 12) on Fashion-MNIST: gray pictures of 28×28 pixels, ten kinds of clothing.
    FashionMnist,
}

impl Embedded {
    /// All of them.
    pub const ALL: [Embedded; 1] = [Embedded::FashionMnist];

    /// The name `--weights` takes.
    pub fn name(self) -> &'static str {
        match self {
            Embedded::FashionMnist => "fashion_mnist",
        }
    }

    /// The safetensors file.
    pub(super) fn tensors(self) -> &'static [u8] {
        match self {
            Embedded::FashionMnist => include_bytes!("../../weights/fashion_mnist.safetensors"),
        }
    }

    /// Its sidecar.
    pub(super) fn sidecar(self) -> &'static str {
        match self {
            Embedded::FashionMnist => include_str!("../../weights/fashion_mnist.json"),
        }
    }
}

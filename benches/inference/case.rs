//! What is measured: a network, a batch, threads.

use anyhow::{bail, Error, Result};
use densenet::{Arch, DenseNetConfig};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    pub network: Network,
    pub batch_size: i64,
    pub threads: usize,
    pub mode: Mode,
}

/// What the threads do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// All of them one pass.
    Latency,
    /// Each a pass of its own, of one network.
    Throughput,
}

/// A network that all participants can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Network {
    /// Of random weights, 224×224.
    Published(Arch),
    /// The one that is embedded in the crate: gray, 28×28.
    FashionMnist,
}

const FASHION_MNIST: &str = "fashion_mnist";

impl Network {
    pub fn name(self) -> &'static str {
        match self {
            Network::Published(arch) => arch.name(),
            Network::FashionMnist => FASHION_MNIST,
        }
    }

    /// Height and width of its pictures.
    pub fn side(self) -> i64 {
        match self {
            Network::Published(_) => 224,
            Network::FashionMnist => 28,
        }
    }

    pub fn config(self) -> DenseNetConfig {
        match self {
            Network::Published(arch) => arch.config(),
            Network::FashionMnist => {
                densenet::weights::Weights::FashionMnist.sidecar().config.unwrap_or_default()
            }
        }
    }
}

impl FromStr for Network {
    type Err = Error;
    fn from_str(name: &str) -> Result<Network> {
        if name == FASHION_MNIST {
            return Ok(Network::FashionMnist);
        }
        match name.parse()? {
            Arch::DenseNet264 => bail!("torchvision has no densenet264 to compare with"),
            arch => Ok(Network::Published(arch)),
        }
    }
}

impl TryFrom<String> for Network {
    type Error = Error;
    fn try_from(name: String) -> Result<Network> {
        name.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> String {
        network.name().to_string()
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { network, batch_size, threads, mode } = self;
        let side = network.side();
        write!(f, "{}, {side}×{side}, batch {batch_size}, ", network.name())?;
        match (mode, threads) {
            (_, 1) => write!(f, "1 thread"),
            (Mode::Latency, _) => write!(f, "{threads} threads"),
            (Mode::Throughput, _) => write!(f, "a pass on each of {threads} threads"),
        }
    }
}

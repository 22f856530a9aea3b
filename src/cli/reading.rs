//! How a file of weights is read, for every command that takes one.

use densenet::checkpoint::{NameOptions, Rename};
use densenet::model::{Memory, Stem};
use densenet::weights::NetworkOptions;

#[derive(clap::Args)]
pub struct Args {
    /// Rename the file's tensors first: what a regular expression finds in a name, by a text in which ${1} stands for its
    /// first group and ${1+1} for that group as a number, plus one; may be given several times
    #[arg(long = "rename", value_name = "REGEX=>TEXT")]
    renames: Vec<Rename>,
    /// Which of several networks in the file, by the prefix of its names
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// Which of several state dicts in the file, by its key path (such as state_dict_ema)
    #[arg(long, value_name = "PATH")]
    root: Option<String>,
    /// The stem, where tensors do not tell: deep or deep_blur
    #[arg(long, value_name = "STEM")]
    stem: Option<Stem>,
}

impl Args {
    pub fn names(&self) -> NameOptions {
        NameOptions { prefix: self.prefix.clone(), renames: self.renames.clone() }
    }

    pub fn options(&self, memory: Memory) -> NetworkOptions {
        NetworkOptions {
            memory,
            root: self.root.clone(),
            names: self.names(),
            stem: self.stem,
            ..NetworkOptions::default()
        }
    }
}

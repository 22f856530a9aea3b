//! `--memory`, as several subcommands take it.

use densenet::model::Memory;

/// `--memory`
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum MemoryArg {
    Standard,
    Efficient,
    Fused,
    Minimal,
}

impl From<MemoryArg> for Memory {
    fn from(memory: MemoryArg) -> Memory {
        match memory {
            MemoryArg::Standard => Memory::Standard,
            MemoryArg::Efficient => Memory::Efficient,
            MemoryArg::Fused => Memory::Fused,
            MemoryArg::Minimal => Memory::Minimal,
        }
    }
}

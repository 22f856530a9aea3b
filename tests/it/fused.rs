//! `Memory::Fused` and `Memory::Minimal`: a block and what follows it as one function.

mod behaviour;
mod dropout;
mod memory;
mod numerics;
mod support;

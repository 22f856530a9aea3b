//! Integration tests: one binary, since each links libtorch.

mod attacks;
mod autograd;
mod cli;
mod dependent;
mod downloads;
mod exporting;
mod fetch;
mod formats;
mod fused;
mod inspecting;
mod loading;
mod memory_efficient;
mod model;
mod oracle;
mod parity;
mod pictures;
mod predictor;
mod properties;
mod registry;
mod shapes;
mod support;
mod surgery;
mod web;
mod wild;
mod writing;
mod wrong_files;

//! Integration tests: one binary, since each links libtorch.

mod attacks;
mod autograd;
mod cli;
mod dependent;
mod exporting;
mod formats;
mod fused;
mod loading;
mod model;
mod oracle;
mod parity;
mod pictures;
mod predictor;
mod shapes;
mod support;
mod surgery;
mod wild;
mod writing;
mod wrong_files;

//! Integration tests: one binary, since each links libtorch.

mod autograd;
mod attacks;
mod cli;
mod dependent;
mod formats;
mod fused;
mod loading;
mod model;
mod oracle;
mod pictures;
mod predictor;
mod properties;
mod shapes;
mod support;
mod surgery;
mod writing;
mod wild;
mod wrong_files;

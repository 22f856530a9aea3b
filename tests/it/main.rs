//! Integration tests: one binary, since each links libtorch.

mod attacks;
mod cli;
mod dependent;
mod formats;
mod loading;
mod model;
mod oracle;
mod pictures;
mod predictor;
mod properties;
mod shapes;
mod support;
mod surgery;
mod wrong_files;

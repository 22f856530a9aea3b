//! Integration tests: one binary, since each links libtorch.

mod dependent;
mod loading;
mod model;
mod formats;
mod oracle;
mod pictures;
mod support;
mod surgery;

//! Integration tests: one binary, since each links libtorch.

mod dependent;
mod formats;
mod loading;
mod model;
mod oracle;
mod pictures;
mod support;
mod surgery;

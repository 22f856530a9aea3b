//! Integration tests: one binary, since each links libtorch.

mod model;
mod loading;
mod dependent;
mod oracle;
mod pictures;
mod support;
mod surgery;

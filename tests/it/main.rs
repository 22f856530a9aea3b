//! Integration tests: one binary, since each links libtorch.

mod model;
mod oracle;
mod support;
mod surgery;

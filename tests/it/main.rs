//! Integration tests: one binary, since each links libtorch.

mod dependent;
mod oracle;
mod support;

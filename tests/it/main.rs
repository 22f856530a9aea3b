//! Integration tests: one binary, since each links libtorch.

mod oracle;
mod pictures;
mod support;

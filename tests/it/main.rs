//! Integration tests: one binary, since each links libtorch.

mod oracle;
mod support;

//! Integration tests: one binary, since each links libtorch.

mod loading;
mod oracle;
mod support;

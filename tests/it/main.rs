//! Integration tests: one binary, since each links libtorch.

mod formats;
mod oracle;
mod support;
mod wrong_files;

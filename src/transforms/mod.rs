//! Pictures to tensors.

//! libtorch at run time.

//! State dicts on disk.

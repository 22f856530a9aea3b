//! What several tests use: seeding under a lock, comparison to the bit, folders of their own.

#![allow(dead_code)]

use densenet::DenseNetConfig;
use std::sync::{Mutex, MutexGuard};
use tch::{Kind, Tensor};

static GENERATOR: Mutex<()> = Mutex::new(());

/// Seeds libtorch's one global generator and keeps other tests from drawing from it while the guard lives.
pub fn seed(seed: i64) -> MutexGuard<'static, ()> {
    let guard = GENERATOR.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    tch::manual_seed(seed);
    guard
}

/// A network with the ImageNet stem, small enough to build and compare often.
pub fn small_network(block_config: &[i64], num_classes: i64) -> DenseNetConfig {
    DenseNetConfig {
        growth_rate: 8,
        block_config: block_config.to_vec(),
        num_init_features: 16,
        num_classes,
        ..DenseNetConfig::default()
    }
}

/// A folder that goes when the test ends.
pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Named tensors from a safetensors file, in the file's own order.
pub fn read_safetensors(path: impl AsRef<std::path::Path>) -> std::collections::BTreeMap<String, Tensor> {
    Tensor::read_safetensors(path).expect("a safetensors file").into_iter().collect()
}

/// Panics unless both tensors have the same dtype, shape and bits; says where the first difference is.
#[track_caller]
pub fn assert_same_bits(key: &str, got: &Tensor, want: &Tensor) {
    assert_eq!(got.kind(), want.kind(), "{key}: dtype");
    assert_eq!(got.size(), want.size(), "{key}: shape");
    if bits(got).equal(&bits(want)) {
        return;
    }
    let (got_bits, want_bits) = (bits(got), bits(want));
    let differ = got_bits.ne_tensor(&want_bits);
    let count = differ.sum(Kind::Int64).int64_value(&[]);
    let first = differ.nonzero().int64_value(&[0, 0]);
    let ulp = (got_bits.to_kind(Kind::Int64) - want_bits.to_kind(Kind::Int64)).abs().max().int64_value(&[]);
    let flat = |tensor: &Tensor| tensor.reshape([-1]).double_value(&[first]);
    panic!(
        "{key}: {count} of {} values differ, by up to {ulp} ULP; first at flat index {first}: got {:e}, want {:e}",
        got.numel(),
        flat(got),
        flat(want)
    );
}

/// The same memory read as integers, flat.
fn bits(tensor: &Tensor) -> Tensor {
    let kind = match tensor.kind() {
        Kind::Float => Kind::Int,
        Kind::Double => Kind::Int64,
        Kind::Half | Kind::BFloat16 => Kind::Int16,
        other => other,
    };
    tensor.detach().contiguous().view_dtype(kind).reshape([-1])
}

//! Files made at random: what is written is read, and what is damaged is read or refused at a cost in proportion.

use crate::oracle::ask;
use crate::support::{assert_same_bits, scratch};
use allocation_counter::measure;
use densenet::checkpoint::{self, NameOptions, StateDict};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;
use tch::{Device, Kind, Tensor};

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    }
}

fn shapes() -> impl Strategy<Value = (Vec<i64>, Kind)> {
    let kinds =
        vec![Kind::Float, Kind::Double, Kind::Half, Kind::BFloat16, Kind::Int64, Kind::Uint8, Kind::Bool];
    (proptest::collection::vec(0i64..5, 0..5), proptest::sample::select(kinds))
}

proptest! {
    #![proptest_config(config(100))]

    #[test]
    fn any_state_dict_survives_safetensors_to_the_bit(
        tensors in proptest::collection::btree_map("[ -~äé]{0,40}", shapes(), 0..12),
        metadata in proptest::collection::hash_map("[a-z]{1,9}", any::<String>(), 0..4),
    ) {
        let tensors: BTreeMap<String, (Vec<i64>, Kind)> =
            tensors.into_iter().filter(|(name, _)| name != "__metadata__").collect();
        let made: Vec<(String, Tensor)> = tensors
            .into_iter()
            .enumerate()
            .map(|(seed, (name, (shape, kind)))| {
                let numel: i64 = shape.iter().product();
                let numbers = Tensor::arange(numel, (Kind::Int64, Device::Cpu)) * 37 + seed as i64;
                (name, numbers.remainder(101).to_kind(kind).reshape(&shape))
            })
            .collect();
        let folder = scratch();
        let path = folder.path().join("any.safetensors");
        checkpoint::write_safetensors(&path, &made, metadata.clone()).unwrap();
        let dict = StateDict::open(&path).unwrap();
        prop_assert_eq!(dict.metadata.into_iter().collect::<HashMap<_, _>>(), metadata);
        let mut read: Vec<_> = dict.tensors.iter().map(|(name, view)| (name.clone(), view)).collect();
        read.sort_by(|a, b| a.0.cmp(&b.0));
        prop_assert_eq!(read.len(), made.len());
        for ((name, view), (want_name, want)) in read.iter().zip(&made) {
            prop_assert_eq!(name, want_name);
            assert_same_bits(name, &view.to_tensor().unwrap(), want);
        }
    }
}

/// Small honest files of every container.
static SAMPLES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let folder = scratch();
    ask("format_samples", json!({"folder": folder.path()}));
    ["zip.pth", "legacy.pth", "script.pt", "small.safetensors", "deflated.pth", "module.pth"]
        .iter()
        .map(|name| std::fs::read(folder.path().join(name)).unwrap())
        .collect()
});

/// One thing that can happen to a file.
#[derive(Debug, Clone)]
enum Damage {
    Byte(Index, u8),
    /// Eight bytes become a number such as lengths are attacked with.
    Number(Index, u64),
    /// A part is left out.
    Cut(Index, usize),
    /// A part stands once more somewhere else.
    Copy(Index, usize, Index),
    /// A part of another file.
    Graft(Index, Index, Index, usize),
}

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let number = prop_oneof![
        Just(u64::MAX),
        Just(1 << 63),
        Just(i64::MAX as u64),
        Just(u64::from(u32::MAX)),
        Just(1 << 31),
        any::<u64>(),
        0u64..300,
    ];
    let one = prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        2 => (any::<Index>(), number).prop_map(|(at, number)| Damage::Number(at, number)),
        1 => (any::<Index>(), 1usize..200).prop_map(|(at, length)| Damage::Cut(at, length)),
        1 => (any::<Index>(), 1usize..200, any::<Index>()).prop_map(|(at, length, to)| Damage::Copy(at, length, to)),
        1 => (any::<Index>(), any::<Index>(), any::<Index>(), 1usize..400)
            .prop_map(|(at, file, from, length)| Damage::Graft(at, file, from, length)),
    ];
    proptest::collection::vec(one, 1..5)
}

fn damage(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.is_empty() {
        return;
    }
    let length = bytes.len();
    match damage {
        Damage::Byte(at, byte) => bytes[at.index(length)] = *byte,
        Damage::Number(at, number) => {
            let at = at.index(length);
            let end = (at + 8).min(length);
            bytes[at..end].copy_from_slice(&number.to_le_bytes()[..end - at]);
        }
        Damage::Cut(at, count) => {
            let at = at.index(length);
            bytes.drain(at..(at + count).min(length));
        }
        Damage::Copy(at, count, to) => {
            let at = at.index(length);
            let part = bytes[at..(at + count).min(length)].to_vec();
            let to = to.index(length);
            bytes.splice(to..to, part);
        }
        Damage::Graft(at, file, from, count) => {
            let other = file.get(&SAMPLES);
            let from = from.index(other.len());
            let at = at.index(length);
            bytes.splice(at..at, other[from..(from + count).min(other.len())].iter().copied());
        }
    }
}

proptest! {
    #![proptest_config(config(3000))]

    #[test]
    fn damaged_files_never_panic_and_cost_what_their_length_says(
        sample in any::<Index>(),
        damages in damages(),
    ) {
        let mut bytes = sample.get(&SAMPLES).clone();
        damages.iter().for_each(|one| damage(&mut bytes, one));
        let length = bytes.len() as u64;
        let used = measure(|| {
            let Ok(dict) = StateDict::from_bytes(bytes) else { return };
            for (_, view) in &dict.tensors {
                // An error is as good as a tensor of other numbers.
                drop(view.to_tensor());
            }
            if let Ok(normalized) = checkpoint::normalize(&dict, &NameOptions::default()) {
                let _ = checkpoint::infer(&normalized);
            }
        });
        prop_assert!(used.bytes_max < (8 << 20) + 160 * length, "{} bytes of memory for {length}", used.bytes_max);
        prop_assert!(used.count_total < 20_000 + 4 * length, "{} allocations for {length}", used.count_total);
    }
}

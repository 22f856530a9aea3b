use super::*;
use crate::checkpoint::{normalize, NameOptions, StateDict};
use tch::{Device, Kind, Tensor};

/// The names and shapes of a network, from the paper's rules.
fn network(config: &InferredConfig) -> Vec<(String, Vec<i64>)> {
    let mut all: Vec<(String, Vec<i64>)> = Vec::new();
    let conv = |name: &str, shape: [i64; 4]| (format!("features.{name}.weight"), shape.to_vec());
    let norm = |name: &str, channels: i64| {
        let vectors = ["weight", "bias", "running_mean", "running_var"]
            .map(|tensor| (format!("features.{name}.{tensor}"), vec![channels]));
        vectors.into_iter().chain([(format!("features.{name}.num_batches_tracked"), vec![])])
    };
    let (k, init) = (config.growth_rate, config.num_init_features);
    match config.stem {
        InferredStem::Imagenet => {
            all.push(conv("conv0", [init, config.in_channels, 7, 7]));
            all.extend(norm("norm0", init));
        }
        InferredStem::Small => all.push(conv("conv0", [init, config.in_channels, 3, 3])),
        InferredStem::Deep => {
            for (index, (out, input)) in [(k, config.in_channels), (k, k), (init, k)].into_iter().enumerate()
            {
                all.push(conv(&format!("conv{index}"), [out, input, 3, 3]));
                all.extend(norm(&format!("norm{index}"), out));
            }
        }
    }
    let mut channels = init;
    for (block, &layers) in (1..).zip(&config.block_config) {
        for layer in 1..=layers {
            let module = format!("denseblock{block}.denselayer{layer}");
            all.extend(norm(&format!("{module}.norm1"), channels));
            match config.bn_size {
                None => all.push(conv(&format!("{module}.conv1"), [k, channels, 3, 3])),
                Some(bn_size) => {
                    all.push(conv(&format!("{module}.conv1"), [bn_size * k, channels, 1, 1]));
                    all.extend(norm(&format!("{module}.norm2"), bn_size * k));
                    all.push(conv(&format!("{module}.conv2"), [k, bn_size * k, 3, 3]));
                }
            }
            channels += k;
        }
        if block < config.block_config.len() {
            let out = (channels as f64 * config.compression).floor() as i64;
            all.extend(norm(&format!("transition{block}.norm"), channels));
            all.push(conv(&format!("transition{block}.conv"), [out, channels, 1, 1]));
            channels = out;
        }
    }
    all.extend(norm("norm5", channels));
    if config.num_classes > 0 {
        all.push(("classifier.weight".to_string(), vec![config.num_classes, channels]));
        all.push(("classifier.bias".to_string(), vec![config.num_classes]));
    }
    all
}

/// Tensors of these shapes that cost no memory.
fn dict(named: &[(String, Vec<i64>)]) -> StateDict {
    let one = Tensor::zeros([1], (Kind::Float, Device::Cpu));
    StateDict::from_tensors(
        named.iter().map(|(name, shape)| (name.clone(), one.squeeze().expand(shape, false))),
    )
}

fn infer_from(named: &[(String, Vec<i64>)]) -> Result<InferredConfig> {
    let dict = dict(named);
    infer(&normalize(&dict, &NameOptions::default())?)
}

fn small() -> InferredConfig {
    InferredConfig {
        growth_rate: 8,
        block_config: vec![2, 3, 2],
        num_init_features: 16,
        bn_size: Some(4),
        compression: 0.5,
        num_classes: 10,
        in_channels: 3,
        stem: InferredStem::Imagenet,
    }
}

#[test]
fn random_networks_are_inferred_back() {
    let mut state = 7u64;
    let mut draw = |below: i64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 33) as i64) % below
    };
    for round in 0..300 {
        let plain = draw(2) == 0;
        let stems = [InferredStem::Imagenet, InferredStem::Small, InferredStem::Deep];
        let want = InferredConfig {
            growth_rate: 2 + draw(47),
            block_config: (0..1 + draw(5)).map(|_| 1 + draw(12)).collect(),
            num_init_features: 2 + draw(97),
            bn_size: if plain { None } else { Some(1 + draw(6)) },
            compression: if draw(2) == 0 { 0.5 } else { 1.0 },
            num_classes: draw(1001),
            in_channels: 1 + draw(12),
            stem: stems[draw(3) as usize],
        };
        let mut names = network(&want);
        if draw(2) == 0 {
            names.reverse();
        }
        if draw(2) == 0 {
            names.retain(|(name, _)| !name.ends_with("num_batches_tracked"));
        }
        let got = infer_from(&names).unwrap_or_else(|error| panic!("round {round}, {want:?}: {error}"));
        // A single block has no transition that could tell.
        let compression = if want.block_config.len() == 1 { 0.5 } else { want.compression };
        assert_eq!(got, InferredConfig { compression, ..want });
    }
}

#[test]
fn counters_of_shape_1_are_counters() {
    let mut names = network(&small());
    names.iter_mut().filter(|(_, shape)| shape.is_empty()).for_each(|(_, shape)| shape.push(1));
    assert_eq!(infer_from(&names).unwrap(), small());
}

/// One change to a good network, and what the error must say.
struct Case {
    what: &'static str,
    change: fn(&mut Vec<(String, Vec<i64>)>),
    error: fn(&CheckpointError) -> bool,
    says: &'static str,
}

fn remove(names: &mut Vec<(String, Vec<i64>)>, part: &str) {
    let before = names.len();
    names.retain(|(name, _)| !name.contains(part));
    assert!(names.len() < before, "{part}");
}

fn reshape(names: &mut [(String, Vec<i64>)], name: &str, shape: &[i64]) {
    names.iter_mut().find(|(other, _)| other == name).expect(name).1 = shape.to_vec();
}

#[test]
fn what_contradicts_is_named() {
    use CheckpointError as E;
    let cases = [
        Case {
            what: "nothing of a DenseNet",
            change: |names| names.retain(|(name, _)| name.starts_with("classifier")),
            error: |error| matches!(error, E::NotDenseNet { .. }),
            says: "no features.conv0.weight; found 2 tensors (classifier.bias, classifier.weight)",
        },
        Case {
            what: "no blocks",
            change: |names| remove(names, "denseblock"),
            error: |error| matches!(error, E::NotDenseNet { .. }),
            says: "no features.denseblock1",
        },
        Case {
            what: "3-D",
            change: |names| reshape(names, CONV0, &[16, 3, 7, 7, 7]),
            error: |error| matches!(error, E::Dimensions { .. }),
            says: "3-D",
        },
        Case {
            what: "1-D",
            change: |names| reshape(names, CONV0, &[16, 3, 7]),
            error: |error| matches!(error, E::Dimensions { .. }),
            says: "1-D",
        },
        Case {
            what: "a matrix for a convolution",
            change: |names| reshape(names, CONV0, &[16, 3]),
            error: |error| matches!(error, E::Contradiction { .. }),
            says: "features.conv0.weight is [16, 3]",
        },
        Case {
            what: "5×5 stem",
            change: |names| reshape(names, CONV0, &[16, 3, 5, 5]),
            error: |error| matches!(error, E::UnknownStem { .. }),
            says: "with features.norm0",
        },
        Case {
            what: "instance normalization",
            change: |names| remove(names, "norm"),
            error: |error| matches!(error, E::NoBatchNorm { .. }),
            says: "instance or group normalization",
        },
        Case {
            what: "group normalization",
            change: |names| remove(names, "running_"),
            error: |error| matches!(error, E::NoBatchNorm { .. }),
            says: "features.norm0.running_mean is missing",
        },
        Case {
            what: "a block is missing",
            change: |names| remove(names, "denseblock2."),
            error: |error| matches!(error, E::Gap { .. }),
            says: "features.denseblock2 is missing although features.denseblock3",
        },
        Case {
            what: "a layer is missing",
            change: |names| remove(names, "denseblock2.denselayer2."),
            error: |error| matches!(error, E::Gap { .. }),
            says: "features.denseblock2.denselayer2 is missing although features.denseblock2.denselayer3",
        },
        Case {
            what: "a first layer is missing",
            change: |names| remove(names, "denseblock1.denselayer1."),
            error: |error| matches!(error, E::Gap { .. }),
            says: "features.denseblock1.denselayer1 is missing",
        },
        Case {
            what: "an absurd block number",
            change: |names| {
                names.push(("features.denseblock4294967295.denselayer1.norm1.weight".into(), vec![1]))
            },
            error: |error| matches!(error, E::Gap { .. }),
            says: "features.denseblock4 is missing although features.denseblock4294967295",
        },
        Case {
            what: "a transition is missing",
            change: |names| remove(names, "transition2."),
            error: |error| matches!(error, E::Gap { .. }),
            says: "features.transition2 is missing although features.denseblock3",
        },
        Case {
            what: "a transition after the last block",
            change: |names| names.push(("features.transition3.conv.weight".into(), vec![1, 1, 1, 1])),
            error: |error| matches!(error, E::Gap { .. }),
            says: "features.denseblock4 is missing although features.transition3",
        },
        Case {
            what: "a layer grows by something else",
            change: |names| reshape(names, "features.denseblock2.denselayer1.conv2.weight", &[9, 32, 3, 3]),
            error: |error| matches!(error, E::Contradiction { .. }),
            says: "features.denseblock2.denselayer1.conv2.weight is [9, 32, 3, 3], expected [8, 32, 3, 3]",
        },
        Case {
            what: "a bottleneck that is no multiple",
            change: |names| reshape(names, "features.denseblock1.denselayer1.conv1.weight", &[33, 16, 1, 1]),
            error: |error| matches!(error, E::Contradiction { .. }),
            says: "multiple of the growth rate, 8",
        },
        Case {
            what: "a norm of another width",
            change: |names| reshape(names, "features.denseblock1.denselayer2.norm1.running_var", &[23]),
            error: |error| matches!(error, E::Contradiction { .. }),
            says: "features.denseblock1.denselayer2.norm1.running_var is [23], expected [24]",
        },
        Case {
            what: "a layer without its second convolution",
            change: |names| remove(names, "denseblock3.denselayer2.conv2"),
            error: |error| matches!(error, E::Incomplete { .. }),
            says: "features.denseblock3.denselayer2.conv2.weight is missing",
        },
        Case {
            what: "a final norm of another width",
            change: |names| reshape(names, "features.norm5.weight", &[99]),
            error: |error| matches!(error, E::Contradiction { .. }),
            says: "features.norm5.weight is [99]",
        },
        Case {
            what: "a classifier of another width",
            change: |names| reshape(names, "classifier.weight", &[10, 99]),
            error: |error| matches!(error, E::Contradiction { .. }),
            says: "classifier.weight is [10, 99]",
        },
        Case {
            what: "a classifier without bias",
            change: |names| remove(names, "classifier.bias"),
            error: |error| matches!(error, E::Incomplete { .. }),
            says: "classifier.bias is missing",
        },
        Case {
            what: "a transition that puts out nothing",
            change: |names| reshape(names, "features.transition1.conv.weight", &[0, 32, 1, 1]),
            error: |error| matches!(error, E::Contradiction { .. }),
            says: "features.transition1.conv.weight is [0, 32, 1, 1]",
        },
        Case {
            what: "an absurd width",
            change: |names| reshape(names, CONV0, &[1 << 40, 3, 7, 7]),
            error: |error| matches!(error, E::Contradiction { .. }),
            says: "dimension 0 counts channels",
        },
        Case {
            what: "a counter that is a vector",
            change: |names| reshape(names, "features.norm5.num_batches_tracked", &[2]),
            error: |error| matches!(error, E::Contradiction { .. }),
            says: "features.norm5.num_batches_tracked is [2]",
        },
    ];
    let mut failed = Vec::new();
    for case in cases {
        let mut names = network(&small());
        (case.change)(&mut names);
        match infer_from(&names) {
            Err(error) if (case.error)(&error) && error.to_string().contains(case.says) => {}
            Err(error) => failed.push(format!("{}: {error:?}: {error}", case.what)),
            Ok(config) => failed.push(format!("{}: {config:?}", case.what)),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn a_deep_stem_of_another_width_than_the_growth_rate_is_refused() {
    let config = InferredConfig { stem: InferredStem::Deep, ..small() };
    let mut names = network(&config);
    for (name, shape) in &mut names {
        if ["features.conv0.", "features.conv1.", "features.norm0.", "features.norm1."]
            .iter()
            .any(|stem| name.starts_with(stem))
            && !shape.is_empty()
        {
            shape[0] = 12;
        }
    }
    reshape(&mut names, "features.conv1.weight", &[12, 12, 3, 3]);
    reshape(&mut names, "features.conv2.weight", &[16, 12, 3, 3]);
    let error = infer_from(&names).unwrap_err();
    assert!(error.to_string().contains("the growth rate's 8 channels"), "{error}");
}

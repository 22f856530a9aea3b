//! Changes of inputs and batches, and recipes of all of it.

use super::*;

#[test]
fn erasing_equals_torchvisions_to_the_bit() {
    let scratch = scratch();
    let (input, output) =
        (scratch.path().join("input.safetensors"), scratch.path().join("output.safetensors"));
    let pixels = Tensor::arange(3 * 20 * 30, (Kind::Float, tch::Device::Cpu)).view([3, 20, 30]) + 1.0;
    for noise in [false, true] {
        let recipe = RandomErasing { p: 1.0, noise, ..RandomErasing::default() };
        for index in 0..20 {
            let drawn = recipe.draw(&mut Draw { seed: 2, epoch: 0, index }.rng(), 3, 20, 30).unwrap();
            let Region { top, left, height, width } = drawn.region;
            assert_eq!(drawn.values.len(), if noise { 3 * (height * width) as usize } else { 0 });
            let mut tensors = vec![("input", pixels.copy())];
            if noise {
                let shape = [3, i64::from(height), i64::from(width)];
                tensors.push(("values", Tensor::from_slice(&drawn.values).view(shape)));
            }
            Tensor::write_safetensors(&tensors, &input).unwrap();
            let region = [top, left, height, width];
            ask(
                "torchvision_erased",
                json!({ "input": input, "region": region, "values": noise, "output": output }),
            );
            let got = pixels.copy();
            drawn.apply(&got).unwrap();
            assert_same_bits("erased", &got, &read_safetensors(&output)["erased"]);
            assert!(!got.equal(&pixels));
        }
    }
}

#[test]
fn mixed_batches_equal_torchvisions_to_the_bit() {
    let scratch = scratch();
    let (input, output) =
        (scratch.path().join("input.safetensors"), scratch.path().join("output.safetensors"));
    let images =
        Tensor::linspace(-2.0, 2.0, 5 * 3 * 12 * 16, (Kind::Float, tch::Device::Cpu)).view([5, 3, 12, 16]);
    let classes = Tensor::from_slice(&[2i64, 0, 3, 3, 1]);
    let labels = Tensor::from_slice(&[
        1f32, 0., 1., 0., 0., 0., 0., 1., 1., 1., 1., 1., 0., 0., 1., 0., 0., 0., 1., 0.,
    ])
    .view([5, 4]);
    for targets in [classes, labels] {
        Tensor::write_safetensors(&[("images", &images), ("targets", &targets)], &input).unwrap();
        let mut ways = [0, 0];
        for batch in 0..12 {
            let mix = Mixing::default().draw(3, 1, batch, 12, 16).unwrap();
            let mut question = json!({ "input": input, "output": output, "classes": 4 });
            match mix {
                Mix::Up { own_share } => {
                    ways[0] += 1;
                    question["share"] = json!(own_share);
                }
                Mix::Cut { region: Region { top, left, height, width }, .. } => {
                    ways[1] += 1;
                    question["box"] = json!([left, top, left + width, top + height]);
                }
            }
            ask("torchvision_mixed", question);
            let want = read_safetensors(&output);
            assert_same_bits("images", &mix.apply(&images).unwrap(), &want["images"]);
            assert_same_bits("targets", &mix.targets(&targets, 4).unwrap(), &want["targets"]);
        }
        assert!(ways.iter().all(|count| *count > 2), "{ways:?}");
    }
}

#[test]
fn every_recipe_makes_the_presets_size_and_repeats_itself_for_any_number_of_workers() {
    let images = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/images");
    let folder = scratch();
    // examples/images has no folders for its classes.
    for entry in std::fs::read_dir(images).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let Some((class, _)) = name.rsplit_once('_') else { continue };
        std::fs::create_dir_all(folder.path().join(class)).unwrap();
        std::fs::copy(entry.path(), folder.path().join(class).join(&name)).unwrap();
    }
    let dataset: Arc<dyn Dataset> = Arc::new(ImageFolder::open(folder.path()).unwrap());
    let gray = ImageClassification { channels: 1, mean: vec![0.5], std: vec![0.25], ..Default::default() };
    let presets = [
        ImageClassification { resize_size: Some(40), crop_size: Some(36), ..Default::default() },
        ImageClassification { resize_size: None, crop_size: None, ..gray },
    ];
    for preset in presets {
        let channels = i64::from(preset.channels);
        let size = preset.crop_size.map_or(28, i64::from);
        for (name, _) in Augment::NAMES {
            let recipe = Augment::named(name).unwrap();
            let text = serde_json::to_string(&recipe).unwrap();
            assert_eq!(serde_json::from_str::<Augment>(&text).unwrap(), recipe, "{text}");
            let epoch = |workers, epoch| {
                let options = LoaderOptions { workers, seed: 9, ..LoaderOptions::default() };
                let pipeline = augmented(recipe.clone(), preset.clone()).unwrap();
                let loader = Loader::new(Arc::clone(&dataset), pipeline, options).unwrap();
                let batch = loader.epoch(epoch, 0).unwrap().next().unwrap().unwrap();
                assert_eq!(batch.images.size()[1..], [channels, size, size], "{name}");
                batch.images
            };
            let first = epoch(0, 0);
            assert_same_bits(name, &epoch(3, 0), &first);
            assert_eq!(epoch(0, 1).equal(&first), name == "none", "{name} in another epoch");
        }
    }
}

#[test]
fn a_recipe_without_chance_is_the_preset() {
    let photograph = RgbImage::from_fn(90, 70, |x, y| image::Rgb([x as u8, (3 * y) as u8, (x * y) as u8]));
    let preset = ImageClassification { resize_size: Some(50), crop_size: Some(60), ..Default::default() };
    let never = Augment {
        steps: vec![Step::HorizontalFlip(HorizontalFlip { p: 0.0 })],
        erasing: Some(RandomErasing { p: 0.0, ..RandomErasing::default() }),
        mixing: None,
    };
    let draw = Draw { seed: 0, epoch: 0, index: 0 };
    let got = never.apply(&photograph, draw, &preset).unwrap();
    assert_same_bits("input", &got, &preset.apply(&photograph).unwrap());
}

#[test]
fn colour_jitter_draws_within_its_ranges_in_every_order() {
    let recipe = ColorJitter { brightness: 0.4, contrast: 2.0, saturation: 0.1, hue: 0.3 };
    let mut firsts = [0; 4];
    for index in 0..400 {
        let drawn = recipe.draw(&mut Draw { seed: 0, epoch: 0, index }.rng());
        assert_eq!(drawn.len(), 4);
        for jitter in &drawn {
            let (value, range) = match *jitter {
                Jitter::Brightness(value) => (value, 0.6..1.4),
                Jitter::Contrast(value) => (value, 0.0..3.0),
                Jitter::Saturation(value) => (value, 0.9..1.1),
                Jitter::Hue(value) => (value, -0.3..0.3),
            };
            assert!(range.contains(&value), "{jitter:?}");
        }
        firsts[match drawn[0] {
            Jitter::Brightness(_) => 0,
            Jitter::Contrast(_) => 1,
            Jitter::Saturation(_) => 2,
            Jitter::Hue(_) => 3,
        }] += 1;
    }
    assert!(firsts.iter().all(|count| (60..140).contains(count)), "{firsts:?}");
    let alone = ColorJitter { brightness: 0.0, contrast: 0.0, saturation: 0.0, hue: 0.1 };
    assert!(matches!(alone.draw(&mut Draw { seed: 0, epoch: 0, index: 0 }.rng())[..], [Jitter::Hue(_)]));
}

#[test]
fn recipes_that_make_no_sense_are_refused_with_step_and_field() {
    let refused = [
        (r#"{"steps":[{"horizontal_flip":{"p":1.5}}]}"#, "horizontal_flip: p is 1.5"),
        (
            r#"{"steps":[{"random_resized_crop":{"scale":[0.5,0.1]}}]}"#,
            "random_resized_crop: scale is [0.5, 0.1]",
        ),
        (r#"{"steps":[{"random_resized_crop":{"ratio":[0.0,1.0]}}]}"#, "random_resized_crop: ratio"),
        (r#"{"steps":[{"color_jitter":{"hue":0.6}}]}"#, "color_jitter: hue is 0.6"),
        (r#"{"steps":[{"color_jitter":{"contrast":-1}}]}"#, "color_jitter: contrast is -1.0"),
        (
            r#"{"steps":[{"trivial_augment":{"num_magnitude_bins":1}}]}"#,
            "trivial_augment: num_magnitude_bins is 1",
        ),
        (r#"{"steps":[{"rand_augment":{"magnitude":31}}]}"#, "rand_augment: magnitude is 31"),
        (r#"{"steps":[{"random_crop":{"padding":4000000000}}]}"#, "4294967295x4294967295"),
        (r#"{"erasing":{"p":-0.1}}"#, "random_erasing: p is -0.1"),
        (r#"{"mixing":{"mixup_alpha":-0.2}}"#, "mixing: mixup_alpha is -0.2"),
    ];
    for (text, words) in refused {
        let recipe: Augment = serde_json::from_str(text).unwrap();
        let error = augmented(recipe, ImageClassification::default()).err().unwrap().to_string();
        assert!(error.contains(words), "{error}");
    }
    assert!(serde_json::from_str::<Augment>(r#"{"steps":[{"horizontal_flip":{"q":1}}]}"#).is_err());
    let error = Augment::named("cutout").unwrap_err();
    assert!(matches!(error, TransformError::UnknownAugmentation { .. }));
    assert!(Augment::NAMES.iter().all(|(name, _)| error.to_string().contains(name)), "{error}");
    let outside = Region { top: u32::MAX, left: 0, height: 2, width: 1 };
    assert!(matches!(crop(&RgbImage::new(3, 3), outside), Err(TransformError::OutsidePicture { .. })));
    let erasing = Erasing { region: outside, values: vec![] };
    assert!(erasing.apply(&Tensor::zeros([3, 3, 3], (Kind::Float, tch::Device::Cpu))).is_err());
}

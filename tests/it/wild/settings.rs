//! What a user can say about a file on the command line, and what the command says about it.

use super::*;
use std::process::{Command, Output};
use tch::Tensor;

fn densenet(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_densenet"))
        .args(arguments)
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .unwrap()
}

/// Standard output as JSON, and standard error.
#[track_caller]
fn answer(arguments: &[&str]) -> (Value, String) {
    let output = densenet(arguments);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {error}");
    let line = String::from_utf8(output.stdout).unwrap();
    (serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")), error)
}

#[track_caller]
fn failure(arguments: &[&str]) -> String {
    let output = densenet(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// The file of this family's case, by a part of its name.
fn one(folder: &Path, family: &str, name: &str) -> String {
    let cases = ask("wild_cases", json!({ "folder": folder, "only": family }));
    let found = cases.as_array().unwrap().iter().find(|case| text(&case["name"]).contains(name));
    text(&found.expect("the case")["path"]).to_string()
}

/// A picture file.
fn photograph(folder: &Path) -> String {
    let path = folder.join("picture.png");
    let pixels = |x: u32, y: u32| [(x * 7 % 256) as u8, (y * 5 % 256) as u8, ((x * y) % 256) as u8];
    image::RgbImage::from_fn(70, 60, |x, y| image::Rgb(pixels(x, y))).save(&path).unwrap();
    path.to_str().unwrap().to_string()
}

#[test]
fn renames_prefix_and_root_given_on_the_command_line_open_what_no_rule_knows() {
    let folder = scratch();
    ask("wild_odd_names", json!({ "folder": folder.path() }));
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (odd, two, roots) = (path("odd.pth"), path("two.pth"), path("roots.pth"));
    let reference = path("reference.safetensors");
    // Another process may have another number of threads than the oracle.
    let parity = |more: &[&str]| {
        let start = ["parity", "--json", "--reference", reference.as_str(), "--tolerance", "1e-5"];
        answer(&[&start[..], more].concat()).0
    };
    let renames = [
        "--rename",
        "^trunk/=>features.",
        "--rename",
        "part([0-9]+)_layer=>denseblock${1+1}.denselayer",
        "--rename",
        "^top/=>classifier.",
    ];
    assert!(
        parity(&[&["--weights", odd.as_str()][..], &renames].concat())["max_abs"].as_f64().unwrap() <= 1e-5
    );
    parity(&["--weights", &two, "--prefix", "teacher"]);
    parity(&["--weights", &roots, "--root", "b"]);

    let failed = |weights: &str| failure(&["parity", "--reference", &reference, "--weights", weights]);
    assert!(failed(&odd).contains("no DenseNet's"), "{}", failed(&odd));
    let words = failed(&two);
    assert!(words.contains("\"student.\", \"teacher.\"") && words.contains("--prefix"), "{words}");
    let words = failed(&roots);
    assert!(words.contains("several state dicts") && words.contains("--root"), "{words}");
    // The wrong one is another network.
    let other = densenet(&["parity", "--reference", &reference, "--weights", &two, "--prefix", "student"]);
    assert_eq!(other.status.code(), Some(1));
    let bad = densenet(&["parity", "--reference", &reference, "--weights", &odd, "--rename", "(=>x"]);
    assert_eq!(bad.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&bad.stderr).contains("unclosed group"));
}

#[test]
fn a_stem_that_the_tensors_contradict_is_refused() {
    let folder = scratch();
    let path = one(folder.path(), "cadene", "saved again");
    let words = failure(&["classify", &photograph(folder.path()), "--weights", &path, "--stem", "deep_blur"]);
    assert!(words.contains("another stem than deep_blur: imagenet"), "{words}");
    let bad = densenet(&["weights", "inspect", &path, "--stem", "shallow"]);
    assert_eq!(bad.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&bad.stderr).contains("imagenet, small, deep, deep_blur"));
}

#[test]
fn inspect_tells_origin_rules_input_outputs_and_what_was_left_out() {
    let folder = scratch();
    let (record, _) =
        answer(&["weights", "inspect", "--json", &one(folder.path(), "chexnet", "zoogzog densenet121")]);
    assert_eq!(record["origin"], json!("torchvision up to 0.2, CheXNet"));
    assert_eq!(record["rules"], json!(["R1", "R12", "chexnet"]));
    assert_eq!(record["stripped_prefix"], json!("module.densenet121."));
    assert_eq!(record["outputs"], json!("labels"));
    assert_eq!(record["preset"]["crop_size"], json!(224));
    assert!(text(&record["notes"][0]).contains("sigmoid"));
    let renamed = record["renamed"].as_u64().unwrap();
    assert!(renamed > 20, "{renamed}");

    let (record, _) =
        answer(&["weights", "inspect", "--json", &one(folder.path(), "torchxrayvision", "a state dict")]);
    assert_eq!(record["dropped"][0], json!({"name": "op_threshs", "reason": "torchxrayvision's thresholds"}));
    assert_eq!(record["preset"]["range"], json!([-1024.0, 1024.0]));
    assert_eq!(record["preset"]["channels"], json!(1));

    let text = densenet(&["weights", "inspect", &one(folder.path(), "cifar", "kuangliu")]);
    let text = String::from_utf8(text.stdout).unwrap();
    for part in ["kuangliu/pytorch-cifar", "channels were permuted", "resize 32", "Small stem"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn classify_gives_independent_labels_a_probability_of_their_own() {
    let folder = scratch();
    let picture = photograph(folder.path());
    let weights = one(folder.path(), "chexnet", "arnoweng densenet121");
    let arguments = ["classify", picture.as_str(), "--json", "--top-k", "20", "--weights", weights.as_str()];
    let (record, said) = answer(&arguments);
    assert_eq!(record["outputs"], json!("labels"));
    assert!(said.contains("independent labels") && said.contains("average ten crops"), "{said}");
    let predictions = record["predictions"].as_array().unwrap();
    assert_eq!(predictions.len(), 14);
    let loaded = file(&weights).load(Device::Cpu).unwrap();
    let transforms = loaded.description.transforms.clone().unwrap();
    let input = transforms.apply(&densenet::transforms::open(&picture).unwrap()).unwrap().unsqueeze(0);
    let want = no_grad(|| loaded.network.try_forward(&input, false).unwrap().sigmoid());
    for prediction in predictions {
        let index = prediction["index"].as_i64().unwrap();
        let probability = prediction["probability"].as_f64().unwrap();
        assert!((probability - want.double_value(&[0, index])).abs() < 1e-4, "{prediction}");
        assert_eq!(prediction["label"], json!(loaded.description.categories[index as usize]));
    }
    assert!(f64::try_from(want.sum(Kind::Double)).unwrap() > 1.01, "a softmax would do as well");

    // One output: a softmax over it would always be 1.
    let weights = one(folder.path(), "mura", "MURA");
    let (record, _) = answer(&["classify", &picture, "--json", "--weights", &weights]);
    let best = &record["predictions"][0];
    assert!(best["probability"].as_f64().unwrap() < 0.9999, "{best}");
    assert_eq!(best["label"], json!("abnormal"));

    // Outputs that were never trained are not named.
    let weights = one(folder.path(), "torchxrayvision", "kaggle");
    ask("wild_cases", json!({ "folder": folder.path(), "only": "torchxrayvision" }));
    let kaggle = folder.path().join("kaggle-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt");
    assert!(Path::new(&weights).exists());
    let (record, _) =
        answer(&["classify", &picture, "--json", "--top-k", "18", "--weights", kaggle.to_str().unwrap()]);
    let mut labels: Vec<&str> =
        record["predictions"].as_array().unwrap().iter().map(|best| text(&best["label"])).collect();
    labels.sort();
    assert_eq!(labels, ["Lung Opacity", "Pneumonia"]);
}

/// Logits of the network a file makes.
fn logits(path: &str, input: &Tensor) -> Tensor {
    let loaded = file(path).load(Device::Cpu).unwrap_or_else(|error| panic!("{error}"));
    no_grad(|| loaded.network.try_forward(input, false).unwrap())
}

#[test]
fn converting_keeps_logits_input_and_outputs() {
    let folder = scratch();
    for (family, name, channels, side) in [
        ("cifar", "kuangliu, bare", 3, 32),
        ("torchxrayvision", "nih-pc", 1, 64),
        ("chexnet", "arnoweng densenet121", 3, 64),
        ("timm", "densenetblur121d by", 3, 64),
    ] {
        let original = one(folder.path(), family, name);
        let input = Tensor::arange(2 * channels * side * side, (Kind::Float, Device::Cpu)).sin();
        let input = input.view([2, channels, side, side]);
        let want = logits(&original, &input);
        let known = |path: &str| {
            let source = file(path);
            let dict = source.open().unwrap();
            let described = source.describe(&dict, &NetworkOptions::default()).unwrap();
            (described.config, described.transforms, described.outputs, described.categories)
        };
        for ending in ["safetensors", "pth"] {
            let output = folder.path().join(format!("{family}-converted.{ending}"));
            let output = output.to_str().unwrap();
            let (record, _) = answer(&["weights", "convert", &original, output, "--json", "--force"]);
            assert!(record["sidecar"].is_string(), "{family}: {record}");
            assert_same_bits(family, &logits(output, &input), &want);
            assert_eq!(known(output), known(&original), "{family}");
        }
        // Under its own names a file must stay what it is, channels included.
        let output = folder.path().join(format!("{family}-as-is.pth"));
        let output = output.to_str().unwrap();
        answer(&["weights", "convert", &original, output, "--json", "--key-style", "as-is"]);
        assert_same_bits(family, &logits(output, &input), &want);
    }
}

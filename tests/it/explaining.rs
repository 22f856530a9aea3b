//! Heat maps and features against torchvision's network in Python; the commands that write them.

use crate::oracle::ask;
use crate::support::{assert_same_bits, read_safetensors, scratch, seed, small_network};
use densenet::checkpoint::write_safetensors;
use densenet::explain::{class_activation, heat_color, overlay, ExplainError, Method};
use densenet::transforms::{self, ImageClassification, RgbImage};
use densenet::weights::Sidecar;
use densenet::{DenseNet, DenseNetConfig, Predictor};
use serde_json::{json, Value};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tch::{nn, Device, Kind, Tensor};

const PICTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/images");

/// A network whose statistics are not those of construction, and its weights in a file with a sidecar.
fn trained(folder: &Path) -> (DenseNet, DenseNetConfig, PathBuf) {
    let _guard = seed(3);
    let config = small_network(&[2, 3], 5);
    let vs = nn::VarStore::new(Device::Cpu);
    let network = DenseNet::new(&vs.root(), &config).unwrap();
    for _ in 0..3 {
        let _ =
            network.try_forward(&Tensor::randn([4, 3, 64, 64], (Kind::Float, Device::Cpu)), true).unwrap();
    }
    let weights = folder.join("net.safetensors");
    write_safetensors(&weights, &network.named_tensors(), Default::default()).unwrap();
    let transforms = ImageClassification { resize_size: Some(64), crop_size: Some(64), ..Default::default() };
    let categories = ["ant", "bee", "cow", "dog", "elk"].map(str::to_string).to_vec();
    let sidecar = Sidecar { transforms: Some(transforms), categories, ..Sidecar::default() };
    sidecar.write_beside(&weights).unwrap();
    (network, config, weights)
}

fn same_threads() {
    ask("threads", json!({ "count": tch::get_num_threads() }));
}

#[test]
fn maps_of_every_class_equal_grad_cam_and_grad_cam_plus_plus_on_torchvisions_network() {
    same_threads();
    let folder = scratch();
    let (network, config, weights) = trained(folder.path());
    let input = {
        let _guard = seed(5);
        Tensor::randn([1, 3, 96, 80], (Kind::Float, Device::Cpu))
    };
    let (given, output) = (folder.path().join("input.safetensors"), folder.path().join("maps.safetensors"));
    Tensor::write_safetensors(&[("input", &input)], &given).unwrap();
    let classes = [None, Some(0), Some(1), Some(2), Some(3), Some(4)];
    let question =
        json!({ "config": config, "weights": weights, "input": given, "classes": classes, "output": output });
    ask("torchvision_cams", question);
    let want = read_safetensors(&output);
    let mut live = 0;
    for class in classes {
        let name = class.map_or("None".to_string(), |class| class.to_string());
        for (method, suffix) in [(Method::GradCam, "grad-cam"), (Method::GradCamPlusPlus, "grad-cam++")] {
            let got = class_activation(&network, &input, class, method).unwrap();
            assert_same_bits("logits", &got.logits, &want["logits"]);
            assert_eq!(got.class, want[&format!("{name}.class")].int64_value(&[]));
            let want = &want[&format!("{name}.{suffix}")];
            assert_eq!(got.map.size(), want.size());
            // Sums of hundreds of products, in an order of each library's own.
            let scale = want.abs().max().double_value(&[]);
            let worst = (&got.map - want).abs().max().double_value(&[]);
            assert!(worst <= 1e-5 * scale, "{name} {suffix}: {worst:e} of {scale:e}");
            live += usize::from(scale > 0.0);
        }
    }
    assert!(live > 6, "{live} maps are not zero everywhere");
    // Nothing is left behind on the network.
    assert!(network.named_tensors().iter().all(|(_, tensor)| !tensor.grad().defined()));
    // Whoever records nothing gets the same.
    let quiet = tch::no_grad(|| class_activation(&network, &input, Some(1), Method::GradCam)).unwrap();
    assert_same_bits(
        "map",
        &quiet.map,
        &class_activation(&network, &input, Some(1), Method::GradCam).unwrap().map,
    );

    let error = class_activation(&network, &input, Some(5), Method::GradCam).unwrap_err();
    assert!(matches!(error, ExplainError::NoSuchClass { class: 5, classes: 5 }), "{error}");
    let headless = DenseNet::new(&nn::VarStore::new(Device::Cpu).root(), &small_network(&[1], 0)).unwrap();
    let error = class_activation(&headless, &input, None, Method::GradCam).unwrap_err();
    assert!(matches!(error, ExplainError::NoClassifier), "{error}");
}

#[test]
fn an_overlay_is_hot_where_the_map_is_and_keeps_the_picture_under_it() {
    let picture = RgbImage::from_fn(64, 32, |x, _| image::Rgb([4 * x as u8, 128, 0]));
    let map = Tensor::from_slice(&[0f32, 0., 0., 7.]).view([1, 4]);
    let over = overlay(&picture, &map).unwrap();
    assert_eq!(over.dimensions(), (192, 96), "enlarged by a whole number");
    let mixed = |value: u8, color: u8| (f32::from(value) * 0.55 + f32::from(color) * 0.45).round() as u8;
    for (x, heat) in [(0, 0.0), (191, 1.0)] {
        let (seen, color) = (picture.get_pixel(x / 3, 0).0, heat_color(heat));
        let want: [u8; 3] = std::array::from_fn(|k| mixed(seen[k], color[k]));
        assert_eq!(over.get_pixel(x, 50).0, want);
    }
    assert_eq!(heat_color(0.5), [0, 224, 224]);
    let flat = overlay(&picture, &Tensor::zeros([2, 2], (Kind::Float, Device::Cpu))).unwrap();
    let (seen, cold) = (picture.get_pixel(20, 0).0, heat_color(0.0));
    assert_eq!(flat.get_pixel(60, 10).0, std::array::from_fn(|k| mixed(seen[k], cold[k])));
}

fn densenet(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_densenet")).args(arguments).output().unwrap()
}

#[track_caller]
fn lines(output: &Output, code: i32) -> Vec<Value> {
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_command_writes_overlays_of_the_class_asked_for() {
    let folder = scratch();
    let (_, _, weights) = trained(folder.path());
    let weights = weights.to_str().unwrap();
    let (bag, coat) = (format!("{PICTURES}/bag_1.png"), format!("{PICTURES}/coat_1.png"));
    let out = folder.path().join("maps");
    let broken = folder.path().join("broken.png");
    std::fs::write(&broken, "no picture").unwrap();
    let run = densenet(&[
        "explain",
        &bag,
        broken.to_str().unwrap(),
        &coat,
        &bag,
        "--weights",
        weights,
        "--class",
        "cow",
        "--method",
        "grad-cam++",
        "--output",
        out.to_str().unwrap(),
        "--json",
    ]);
    let records = lines(&run, 1);
    assert_eq!(records.len(), 4);
    assert!(records[1]["error"].as_str().unwrap().contains("broken.png"));
    let predictor = Predictor::open(weights, Device::Cpu).unwrap();
    for (record, name) in
        [(&records[0], "bag_1_2.png"), (&records[2], "coat_1_2.png"), (&records[3], "bag_1_2_2.png")]
    {
        assert_eq!(record["class"]["label"], "cow");
        assert_eq!(record["method"], "grad-cam++");
        let path = out.join(name);
        assert_eq!(record["output"], path.to_str().unwrap());
        let picture = transforms::open(record["image"].as_str().unwrap()).unwrap();
        let activation = predictor.explain(&picture, Some(2), Method::GradCamPlusPlus).unwrap();
        let want = overlay(&predictor.transforms().seen(&picture).unwrap(), &activation.map).unwrap();
        assert!(transforms::open(&path).unwrap() == want, "{name}");
        let map: Vec<Vec<f32>> = serde_json::from_value(record["map"].clone()).unwrap();
        assert_eq!(Tensor::from_slice2(&map), activation.map);
    }
    // One picture, one file; the likeliest class; gray pictures of a gray network.
    let file = folder.path().join("one.png");
    let run = densenet(&["explain", &bag, "--output", file.to_str().unwrap(), "--json"]);
    assert_eq!(lines(&run, 0)[0]["class"]["label"], "Bag");
    assert_eq!(transforms::open(&file).unwrap().dimensions(), (224, 224));
    for (arguments, words) in [
        (vec!["explain", &bag, &coat, "--output", "one.png"], "2 pictures"),
        (vec!["explain", &bag, "--output", "maps", "--class", "cow"], "\"cow\""),
        (vec!["explain", &bag, "--output", "maps", "--class", "10"], "0 to 9"),
    ] {
        let run = densenet(&arguments);
        let error = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(run.status.code() == Some(1) && error.contains(words), "{error}");
    }
}

#[test]
fn features_equal_torchvisions_and_both_formats_open_in_python() {
    same_threads();
    let folder = scratch();
    let (network, config, weights) = trained(folder.path());
    let pictures = folder.path().join("pictures");
    let shipped = [("Bag", "bag_1"), ("Bag", "bag_2"), ("Coat", "coat_1"), ("Coat", "coat_2")];
    for (class, name) in shipped {
        std::fs::create_dir_all(pictures.join(class)).unwrap();
        std::fs::copy(format!("{PICTURES}/{name}.png"), pictures.join(class).join(format!("{name}.png")))
            .unwrap();
    }
    let predictor = Predictor::open(weights.to_str().unwrap(), Device::Cpu).unwrap();
    let names: Vec<String> = shipped
        .iter()
        .map(|(class, name)| pictures.join(class).join(format!("{name}.png")).display().to_string())
        .collect();
    let inputs: Vec<Tensor> = names
        .iter()
        .map(|name| predictor.transforms().apply(&transforms::open(name).unwrap()).unwrap())
        .collect();
    let inputs = transforms::batch(&inputs).unwrap();
    let (given, output) =
        (folder.path().join("input.safetensors"), folder.path().join("features.safetensors"));
    Tensor::write_safetensors(&[("input", &inputs)], &given).unwrap();
    ask(
        "torchvision_features",
        json!({ "config": config, "weights": weights, "input": given, "output": output }),
    );
    let want = &read_safetensors(&output)["features"];
    assert_same_bits("features", &predictor.features(&inputs).unwrap(), want);
    assert_eq!(want.size(), [4, network.config.num_features()]);

    // A backbone without a classifier will do.
    let headless = folder.path().join("headless.safetensors");
    let mut tensors = network.named_tensors();
    tensors.retain(|(name, _)| !name.starts_with("classifier"));
    write_safetensors(&headless, &tensors, Default::default()).unwrap();
    let sidecar = Sidecar { transforms: Some(predictor.transforms().clone()), ..Sidecar::default() };
    sidecar.write_beside(&headless).unwrap();
    for (weights, ending) in [(&weights, "npy"), (&headless, "safetensors")] {
        let file = folder.path().join(format!("embeddings.{ending}"));
        let run = densenet(&[
            "features",
            pictures.to_str().unwrap(),
            "--weights",
            weights.to_str().unwrap(),
            "--output",
            file.to_str().unwrap(),
            "--batch-size",
            "4",
            "--json",
        ]);
        let record = &lines(&run, 0)[0];
        assert_eq!((record["images"].as_i64(), record["features"].as_i64()), (Some(4), Some(want.size()[1])));
        let about = ask("read_embeddings", json!({ "path": file, "output": output }));
        assert_eq!(about["names"], json!(names));
        assert_eq!(about["classes"], json!(["Bag", "Coat"]));
        assert_eq!(about["labels"], json!([0, 0, 1, 1]));
        assert_eq!(about["weights"], weights.to_str().unwrap());
        assert_same_bits(ending, &read_safetensors(&output)["features"], want);
    }
    // Single files have no classes; one that cannot be read is left out and named.
    let (file, broken) = (folder.path().join("two.npy"), folder.path().join("broken.png"));
    std::fs::write(&broken, "no picture").unwrap();
    let two = [names[0].as_str(), broken.to_str().unwrap(), names[3].as_str()];
    let end = ["--weights", weights.to_str().unwrap(), "--output", file.to_str().unwrap()];
    let run = densenet(&[&["features"][..], &two, &end].concat());
    assert_eq!(run.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&run.stderr).contains("broken.png"));
    let about = ask("read_embeddings", json!({ "path": file, "output": output }));
    assert_eq!(about["names"], json!([names[0], names[3]]));
    assert_eq!((&about["labels"], &about["classes"]), (&Value::Null, &Value::Null));
    let run = densenet(&["features", &names[0], "--output", "features.csv"]);
    assert!(String::from_utf8_lossy(&run.stderr).contains(".npy"));
}

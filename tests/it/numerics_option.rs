//! `Numerics` where people choose it: the command, [`Predictor`], what refuses and what falls back.

use crate::cli::{densenet, failure, stdout};
use crate::support::{assert_same_bits, seed, small_network};
use densenet::model::{ModelError, Numerics, Threading};
use densenet::predictor::PredictError;
use densenet::transforms::ImageClassification;
use densenet::weights::{NetworkOptions, WeightsSource};
use densenet::{transforms, DenseNet, Predictor};
use serde::Deserialize;
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;
use tch::{nn, Device, Kind, Tensor};

const PICTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/images");

fn classified(arguments: &[&str]) -> Vec<Value> {
    let lines = stdout(&densenet(&[&["classify", PICTURES, "--json"], arguments].concat()), 0);
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn classify_fused_gives_every_shipped_picture_exacts_likeliest_class() {
    let (exact, fused) = (classified(&[]), classified(&["--numerics", "fused"]));
    assert!(exact.len() >= 20);
    assert_eq!(exact.len(), fused.len());
    let mut moved = 0;
    for (exact, fused) in exact.iter().zip(&fused) {
        assert_eq!(exact["image"], fused["image"]);
        assert_eq!(exact["predictions"][0]["index"], fused["predictions"][0]["index"], "{fused}");
        assert_eq!((exact.get("numerics"), &fused["numerics"]), (None, &Value::from("fused")));
        for (exact, fused) in
            exact["predictions"].as_array().unwrap().iter().zip(fused["predictions"].as_array().unwrap())
        {
            let [exact, fused] = [exact, fused].map(|one| one["probability"].as_f64().unwrap());
            assert!((exact - fused).abs() < 1e-4, "{exact} {fused}");
            moved += usize::from(exact != fused);
        }
    }
    assert!(moved > 0, "all probabilities are exact's: nothing else ran");
    assert_eq!(classified(&["--numerics", "exact"]), exact, "exact is the default");
    assert_eq!(classified(&["--numerics", "auto"]), fused, "auto fuses where it can");
}

#[test]
fn a_wrong_word_is_bad_usage_and_help_says_what_each_promises() {
    let output = densenet(&["classify", PICTURES, "--numerics", "fast"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(stdout(&output, 2), "");
    assert!(error.contains("exact, fused, auto"), "{error}");
    let help = stdout(&densenet(&["classify", "--help"]), 0);
    for promise in ["last bit", "1e-5", "else exact"] {
        assert!(help.split_whitespace().collect::<Vec<_>>().join(" ").contains(promise), "{promise}: {help}");
    }
}

/// A small network of this type.
fn network(kind: Kind, numerics: Numerics) -> DenseNet {
    let _guard = seed(5);
    let mut vs = nn::VarStore::new(Device::Cpu);
    vs.set_kind(kind);
    let mut network = DenseNet::new(&vs.root(), &small_network(&[2, 3], 7)).unwrap();
    network.set_numerics(numerics);
    network
}

fn predictor(kind: Kind, numerics: Numerics) -> Result<Predictor, PredictError> {
    Predictor::new(&network(kind, numerics), ImageClassification::default(), Vec::new())
}

/// The same every time, without the generator.
fn input(i: i64, kind: Kind) -> Tensor {
    let shape = [1 + i % 3, 3, 32 + i, 48 - i];
    (Tensor::arange(shape.iter().product::<i64>(), (kind, Device::Cpu)) * 0.37 + i).sin().reshape(shape)
}

#[test]
fn fused_refuses_another_type_and_auto_falls_back_to_exacts_bits_and_says_why() {
    let error = predictor(Kind::Double, Numerics::Fused).unwrap_err();
    assert!(matches!(error, PredictError::Model(ModelError::NotFusable { .. })), "{error}");
    let words = error.to_string();
    assert!(
        words.contains("f32") && words.contains("Double") && words.contains("Numerics::Exact"),
        "{words}"
    );

    let [exact, auto] =
        [Numerics::Exact, Numerics::Auto].map(|numerics| predictor(Kind::Double, numerics).unwrap());
    assert_eq!((exact.numerics(), auto.numerics()), (Numerics::Exact, Numerics::Exact));
    assert_eq!(exact.notes(), [""; 0]);
    assert!(
        matches!(auto.notes(), [note] if note.contains("exact") && note.contains("Double")),
        "{:?}",
        auto.notes()
    );
    let input = input(1, Kind::Double);
    assert_same_bits("logits", &auto.predict_tensor(&input).unwrap(), &exact.predict_tensor(&input).unwrap());
}

#[test]
fn auto_fuses_an_f32_network_and_has_nothing_to_say() {
    let [fused, auto] =
        [Numerics::Fused, Numerics::Auto].map(|numerics| predictor(Kind::Float, numerics).unwrap());
    assert_eq!((fused.numerics(), auto.numerics()), (Numerics::Fused, Numerics::Fused));
    assert_eq!(auto.notes(), [""; 0]);
    let input = input(2, Kind::Float);
    assert_same_bits("logits", &auto.predict_tensor(&input).unwrap(), &fused.predict_tensor(&input).unwrap());
}

#[test]
fn weights_are_loaded_fused_and_a_fused_predictor_keeps_what_it_was_made_from() {
    let source = WeightsSource::resolve("fashion_mnist").unwrap();
    let [exact, fused] = [Numerics::Exact, Numerics::Fused].map(|numerics| {
        let options = NetworkOptions { numerics, ..NetworkOptions::default() };
        Predictor::load_with(&source, Device::Cpu, &options).unwrap()
    });
    assert_eq!((exact.config(), exact.categories()), (fused.config(), fused.categories()));
    let picture = transforms::open(format!("{PICTURES}/coat_2.png")).unwrap();
    let [exact, fused] =
        [exact, fused].map(|predictor| predictor.predict(std::slice::from_ref(&picture), 1).unwrap());
    assert_eq!(exact[0][0].index, fused[0][0].index);

    let network = network(Kind::Float, Numerics::Fused);
    let predictor = Predictor::new(&network, ImageClassification::default(), Vec::new()).unwrap();
    let input = input(3, Kind::Float);
    let before = predictor.predict_tensor(&input).unwrap();
    tch::no_grad(|| network.named_tensors().iter_mut().for_each(|(_, tensor)| drop(tensor.fill_(9))));
    assert_same_bits("logits", &predictor.predict_tensor(&input).unwrap(), &before);
}

#[test]
fn throughput_is_refused_where_libtorchs_operations_run() {
    let error =
        predictor(Kind::Float, Numerics::Exact).unwrap().with_threading(Threading::Throughput).unwrap_err();
    assert!(matches!(error, PredictError::Threading), "{error}");
    assert!(error.to_string().contains("set_threads(1)"), "{error}");
    predictor(Kind::Float, Numerics::Exact).unwrap().with_threading(Threading::Latency).unwrap();
}

#[test]
fn a_fused_predictor_refuses_what_the_exact_one_refuses_in_the_same_words() {
    let [exact, fused] =
        [Numerics::Exact, Numerics::Fused].map(|numerics| predictor(Kind::Float, numerics).unwrap());
    let float = (Kind::Float, Device::Cpu);
    for wrong in [
        Tensor::zeros([1, 3, exact.config().min_input_size() - 1, 40], float),
        Tensor::zeros([1, 4, 40, 40], float),
        Tensor::zeros([3, 40, 40], float),
        Tensor::zeros([1, 3, 40, 40], (Kind::Double, Device::Cpu)),
    ] {
        let [exact, fused] = [&exact, &fused].map(|one| one.predict_tensor(&wrong).unwrap_err().to_string());
        assert_eq!(exact, fused);
    }
}

#[test]
fn sixteen_threads_share_one_fused_predictor_and_get_one_threads_bits() {
    for threading in [Threading::Latency, Threading::Throughput] {
        let predictor = predictor(Kind::Float, Numerics::Fused).unwrap().with_threading(threading).unwrap();
        let want: Vec<Tensor> =
            (0..12).map(|i| predictor.predict_tensor(&input(i, Kind::Float)).unwrap()).collect();
        let (want, compared) = (Mutex::new(want), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for thread in 0..16 {
                let (predictor, want, compared) = (&predictor, &want, &compared);
                scope.spawn(move || {
                    for round in 0..24 {
                        let i = (thread * 5 + round) % 12;
                        let got =
                            tch::with_grad(|| predictor.predict_tensor(&input(i, Kind::Float)).unwrap());
                        assert!(!got.requires_grad());
                        let what = format!("{threading:?}, thread {thread}, input {i}");
                        assert_same_bits(&what, &got, &want.lock().unwrap()[i as usize]);
                        compared.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(compared.load(Ordering::Relaxed), 16 * 24);
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Measured {
    mode: String,
    threads: usize,
    batch_size: i64,
    size: i64,
    numerics: String,
    ms_per_image: f64,
    p50_ms: f64,
    p99_ms: f64,
    passes: usize,
    gflops: f64,
    peak_gflops: Option<f64>,
    prepare_ms: f64,
    rss_bytes: u64,
    peak_rss_bytes: u64,
}

fn bench(arguments: &[&str]) -> Measured {
    let line = stdout(&densenet(&[&["bench", "infer", "--json"], arguments].concat()), 0);
    serde_json::from_str(&line).unwrap()
}

#[test]
fn bench_infer_says_what_ran_and_its_figures_agree_with_each_other() {
    let small = ["--arch", "densenet-bc-22-8", "--size", "24", "--batch-size", "3", "--passes", "7"];
    for numerics in ["exact", "fused"] {
        let one = bench(&[&small[..], &["--threads", "1", "--numerics", numerics]].concat());
        assert_eq!((one.numerics.as_str(), one.mode.as_str()), (numerics, "latency"));
        assert_eq!((one.threads, one.batch_size, one.size, one.passes), (1, 3, 24, 7));
        assert!(0.0 < one.p50_ms && one.p50_ms <= one.p99_ms, "{one:?}");
        // Four of seven passes are at least as long as the one in the middle.
        assert!(4.0 * one.p50_ms <= one.ms_per_image * 21.0, "{one:?}");
        assert!(one.gflops > 0.0 && one.peak_gflops.is_some_and(|peak| peak > 0.0), "{one:?}");
        assert!(0 < one.rss_bytes && one.rss_bytes <= one.peak_rss_bytes, "{one:?}");
        assert!(one.prepare_ms >= 0.0);
    }
    let many =
        bench(&[&small[..], &["--mode", "throughput", "--threads", "3", "--numerics", "fused"]].concat());
    assert_eq!((many.mode.as_str(), many.threads, many.passes), ("throughput", 3, 21));
    let auto = bench(&[&small[..], &["--numerics", "auto"]].concat());
    assert_eq!(auto.numerics, "fused");
    let text = stdout(&densenet(&[&["bench", "infer"], &small[..]].concat()), 0);
    assert!(text.contains("numerics exact") && text.contains("images/s at 24×24"), "{text}");
    assert!(failure(&["bench", "infer", "--size", "20"]).contains("H and W at least 29"));
}

#[test]
fn memory_of_a_shared_network_does_not_grow_with_the_passes() {
    let after = |passes: &str| {
        let share = ["--mode", "throughput", "--threads", "16", "--numerics", "fused", "--passes", passes];
        bench(&[&share[..], &["--arch", "densenet-bc-22-8"]].concat()).rss_bytes as f64
    };
    // 16 threads' 40 passes, and ten times as many: a leak of 10 kB a pass would make 58 MB.
    let (few, many) = (after("40"), after("400"));
    assert!(many < few + 30e6, "{few} and {many} bytes");
}

#[test]
fn doctor_names_the_kernels_of_both_numerics() {
    let record: Value = serde_json::from_str(&stdout(&densenet(&["doctor", "--json"]), 0)).unwrap();
    assert_eq!(record["own_kernels"], densenet::kernels::Level::best().name());
    let text = stdout(&densenet(&["doctor"]), 0);
    let line =
        |name: &str| text.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or("").to_string();
    assert!(line("exact").contains(record["cpu_capability"].as_str().unwrap()), "{text}");
    assert!(line("fused").contains(record["own_kernels"].as_str().unwrap()), "{text}");
}

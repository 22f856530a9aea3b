//! Many threads, one predictor.

use super::{resident_mb, verdict, Args, Draw};
use anyhow::{anyhow, ensure, Result};
use densenet::model::Threading;
use densenet::tch::{Kind, Tensor};
use densenet::Predictor;
use serde_json::json;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Inputs that are asked about again and again.
const INPUTS: usize = 24;
/// Looks at the memory, and the first of them that do not count.
const LOOKS: u32 = 60;
const WARM_UP: u32 = LOOKS / 4;

/// Shares the predictor for as long as was asked; fails at the first answer with other bits than one thread's.
pub fn run(args: &Args, predictor: Predictor, threads: usize) -> Result<ExitCode> {
    let predictor = match args.throughput {
        true => predictor.with_threading(Threading::Throughput)?,
        false => predictor,
    };
    let mut draw = Draw(args.seed);
    let mut questions = Vec::new();
    for _ in 0..INPUTS {
        let [height, width] = [0; 2].map(|_: u32| i64::from(draw.between(args.min_side, args.max_side)));
        let shape = [i64::from(draw.between(1, args.max_batch)), 3, height, width];
        let input = Tensor::f_randn(shape, (Kind::Float, densenet::tch::Device::Cpu))?;
        let logits = predictor.predict_tensor(&input)?;
        questions.push((input, bits(&logits)?));
    }
    // Tensors cannot be shared, only sent: each thread has its own handles on the same memory.
    let (stop, asked, wrong) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::new(None::<anyhow::Error>));
    let mut curve = Vec::new();
    std::thread::scope(|scope| -> Result<()> {
        for thread in 0..threads {
            let mine: Vec<_> =
                questions.iter().map(|(input, want)| (input.shallow_clone(), want.clone())).collect();
            let (predictor, stop, asked, wrong) = (&predictor, &stop, &asked, &wrong);
            scope.spawn(move || {
                let mut draw = Draw(thread as u64);
                while !stop.load(Ordering::Relaxed) {
                    let number = draw.between(0, INPUTS as u32 - 1) as usize;
                    if let Err(error) = ask(predictor, &mine[number]) {
                        let error = error.context(format!("thread {thread}, input {number}"));
                        wrong.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert(error);
                        stop.store(true, Ordering::Relaxed);
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let watched = watch(args, &stop, &asked, &mut curve);
        stop.store(true, Ordering::Relaxed);
        watched
    })?;
    if let Some(error) = wrong.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
        return Err(error);
    }
    let asked = asked.into_inner();
    if !args.json {
        println!(
            "{threads} threads asked one {} predictor {asked} times: one thread's bits each time",
            predictor.numerics()
        );
    }
    verdict(&curve, &format!("a quarter of {} minutes", args.minutes), args)
}

fn ask(predictor: &Predictor, (input, want): &(Tensor, Vec<u32>)) -> Result<()> {
    let got = bits(&predictor.predict_tensor(input)?)?;
    ensure!(got.len() == want.len(), "{} logits for {}", got.len(), want.len());
    match got.iter().zip(want).position(|(got, want)| got != want) {
        None => Ok(()),
        Some(index) => {
            Err(anyhow!("logit {index} is {:#010x}, one thread's was {:#010x}", got[index], want[index]))
        }
    }
}

fn bits(logits: &Tensor) -> Result<Vec<u32>> {
    let logits = Vec::<f32>::try_from(logits.f_reshape([-1])?)?;
    Ok(logits.into_iter().map(f32::to_bits).collect())
}

/// Looks at the memory at equal times until the time is over.
fn watch(args: &Args, stop: &AtomicBool, asked: &AtomicU64, curve: &mut Vec<f64>) -> Result<()> {
    let (start, whole) = (Instant::now(), Duration::from_secs_f64(args.minutes * 60.0));
    for look in 1..=LOOKS {
        while start.elapsed() < whole * look / LOOKS {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let (resident, seconds) = (resident_mb()?, start.elapsed().as_secs_f64());
        if look > WARM_UP {
            curve.push(resident);
        }
        let asked = asked.load(Ordering::Relaxed);
        if args.json {
            println!("{}", json!({ "passes": asked, "resident_mb": resident, "seconds": seconds }));
        } else if look % 10 == 0 {
            println!("{asked:>8} passes, {seconds:>6.1} s: {resident:>7.1} MB resident");
        }
    }
    Ok(())
}

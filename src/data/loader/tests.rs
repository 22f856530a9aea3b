use super::*;
use crate::data::split;
use crate::transforms::RgbImage;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Pictures of one pixel that tell their index; some cannot be read.
struct Numbered {
    classes: Vec<String>,
    targets: Vec<Target>,
    broken: Vec<usize>,
    read: AtomicUsize,
}

fn numbered(count: usize, broken: &[usize]) -> Arc<Numbered> {
    Arc::new(Numbered {
        classes: vec!["even".into(), "odd".into()],
        targets: (0..count).map(|index| Target::Class(index % 2)).collect(),
        broken: broken.to_vec(),
        read: AtomicUsize::new(0),
    })
}

impl Dataset for Numbered {
    fn len(&self) -> usize {
        self.targets.len()
    }
    fn classes(&self) -> &[String] {
        &self.classes
    }
    fn target(&self, index: usize) -> &Target {
        &self.targets[index]
    }
    fn name(&self, index: usize) -> String {
        format!("picture {index}")
    }
    fn picture(&self, index: usize) -> Result<RgbImage> {
        self.read.fetch_add(1, Ordering::Relaxed);
        if self.broken.contains(&index) {
            let source = TransformError::EmptyPicture { from: (0, 0), to: (1, 1) };
            return Err(unreadable(self.name(index), source));
        }
        Ok(RgbImage::from_pixel(1, 1, image::Rgb([index as u8; 3])))
    }
    fn root(&self) -> &Path {
        Path::new("numbered")
    }
}

/// Index, and a number drawn.
fn pipeline() -> Pipeline {
    Arc::new(|picture, draw| {
        let index = f32::from(picture.get_pixel(0, 0).0[0]);
        Ok(Tensor::f_from_slice(&[index, draw.rng().uniform() as f32])?.f_view([2, 1, 1])?)
    })
}

fn values(batch: &Batch) -> Vec<f32> {
    Vec::try_from(batch.images.reshape([-1])).unwrap()
}

fn options(workers: usize) -> LoaderOptions {
    LoaderOptions { batch_size: 4, workers, shuffle: true, seed: 7, ..LoaderOptions::default() }
}

#[test]
fn batches_are_the_same_for_any_number_of_workers_and_from_any_batch_on() {
    let all = |workers, first| -> Vec<(Vec<usize>, Vec<f32>, Vec<i64>)> {
        let loader = Loader::new(numbered(30, &[]), pipeline(), options(workers)).unwrap();
        assert_eq!(loader.len(), 8);
        let batches = loader.epoch(3, first).unwrap().map(|batch| {
            let batch = batch.unwrap();
            let images = values(&batch);
            assert!(batch
                .indices
                .iter()
                .zip(images.chunks(2))
                .all(|(index, image)| *index as f32 == image[0]));
            (batch.indices, images, Vec::try_from(batch.targets).unwrap())
        });
        batches.collect()
    };
    let one_by_one = all(0, 0);
    assert_eq!(one_by_one.iter().map(|batch| batch.0.len()).collect::<Vec<_>>(), [4, 4, 4, 4, 4, 4, 4, 2]);
    let mut indices: Vec<usize> = one_by_one.iter().flat_map(|batch| batch.0.clone()).collect();
    assert_ne!(indices, (0..30).collect::<Vec<_>>(), "shuffled");
    indices.sort_unstable();
    assert_eq!(indices, (0..30).collect::<Vec<_>>());
    for workers in 1..4 {
        assert_eq!(all(workers, 0), one_by_one);
        assert_eq!(all(workers, 5), one_by_one[5..]);
    }
}

#[test]
fn epochs_and_seeds_have_other_orders() {
    let order = |seed, epoch| {
        let options = LoaderOptions { seed, ..options(0) };
        Loader::new(numbered(30, &[]), pipeline(), options).unwrap().order(epoch)
    };
    assert_eq!(order(1, 1), order(1, 1));
    assert_ne!(order(1, 1), order(1, 2));
    assert_ne!(order(1, 1), order(2, 1));
}

#[test]
fn an_unreadable_picture_fails_with_its_name_or_is_left_out_and_told() {
    for workers in [0, 2] {
        let loader = Loader::new(numbered(12, &[5]), pipeline(), options(workers)).unwrap();
        let mut epoch = loader.epoch(0, 0).unwrap();
        let error = epoch.by_ref().find_map(Result::err).expect("an error").to_string();
        assert!(error.contains("picture 5"), "{error}");
        assert!(epoch.next().is_none(), "after an error nothing follows");

        let skip = LoaderOptions { on_unreadable: OnUnreadable::Skip, ..options(workers) };
        // 0 to 3 are the whole of a batch that is not shuffled.
        let skip = LoaderOptions { shuffle: false, ..skip };
        let loader = Loader::new(numbered(12, &[0, 1, 2, 3, 9]), pipeline(), skip.clone()).unwrap();
        let batches: Vec<Batch> = loader.epoch(0, 0).unwrap().collect::<Result<_>>().unwrap();
        let told = |batch: &Batch| batch.skipped.iter().map(|skipped| skipped.index).collect::<Vec<_>>();
        assert_eq!(batches.len(), 2);
        assert_eq!((batches[0].indices.clone(), told(&batches[0])), (vec![4, 5, 6, 7], vec![0, 1, 2, 3]));
        assert_eq!((batches[1].indices.clone(), told(&batches[1])), (vec![8, 10, 11], vec![9]));

        let none = Loader::new(numbered(4, &[0, 1, 2, 3]), pipeline(), skip).unwrap();
        let errors: Vec<String> =
            none.epoch(0, 0).unwrap().map(|batch| batch.expect_err("an error").to_string()).collect();
        assert_eq!(errors.len(), 1);
        assert!(errors[0].contains("none of 4 pictures") && errors[0].contains("picture 0"), "{errors:?}");
    }
}

#[test]
fn a_panic_in_a_transform_is_an_error_and_no_hang() {
    let pipeline: Pipeline = Arc::new(|_, draw| {
        assert!(draw.index != 6, "six is too many");
        Ok(Tensor::f_zeros([1], (Kind::Float, Device::Cpu))?)
    });
    for workers in [0, 2] {
        let loader = Loader::new(numbered(12, &[]), Arc::clone(&pipeline), options(workers)).unwrap();
        let error = loader.epoch(0, 0).unwrap().find_map(Result::err).expect("an error").to_string();
        assert!(error.contains("six is too many"), "{error}");
    }
}

#[test]
fn workers_stay_within_the_prefetch_and_end_with_the_epoch() {
    let dataset = numbered(200, &[]);
    let options = LoaderOptions { prefetch: 2, ..options(2) };
    let loader = Loader::new(dataset.clone(), pipeline(), options).unwrap();
    let mut epoch = loader.epoch(0, 0).unwrap();
    epoch.next().unwrap().unwrap();
    // However long nobody asks, no more than the batch handed out and 2 × 2 ahead are made.
    std::thread::sleep(Duration::from_millis(100));
    let read = dataset.read.load(Ordering::Relaxed);
    assert!(read <= 4 * (1 + 4), "{read} pictures read");
    drop(epoch);
    assert_eq!(Arc::strong_count(&dataset), 2, "workers hold the data set no longer");
}

#[test]
fn a_split_takes_its_share_of_every_class_and_is_the_same_for_a_seed() {
    let dataset: Arc<dyn Dataset> = numbered(40, &[]);
    let (train, validation) = split(Arc::clone(&dataset), 0.25, 3).unwrap();
    assert_eq!((train.counts(), validation.counts()), (vec![15, 15], vec![5, 5]));
    let mut all = [train.indices(), validation.indices()].concat();
    all.sort_unstable();
    assert_eq!(all, (0..40).collect::<Vec<_>>());
    assert_eq!(split(Arc::clone(&dataset), 0.25, 3).unwrap().1.indices(), validation.indices());
    assert_ne!(split(Arc::clone(&dataset), 0.25, 4).unwrap().1.indices(), validation.indices());
    let error = split(numbered(2, &[]), 0.5, 0).err().expect("one picture a class").to_string();
    assert!(error.contains("leaves training without a picture of class even (1 in all)"), "{error}");
    assert!(split(dataset, 1.0, 0).is_err());
}

//! The files of MNIST and its kin (Fashion-MNIST, KMNIST, EMNIST): one of pictures, one of labels, `idx` inside.

use super::{DataError, Dataset, Result, Target};
use crate::transforms::RgbImage;
use flate2::read::GzDecoder;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Refused beyond this: 60,000 pictures of 28×28 are 47 MB.
const MAX_BYTES: u64 = 1 << 32;

/// Pictures of one size, gray or RGB, in memory.
#[derive(Debug, Clone)]
pub struct Idx {
    path: PathBuf,
    classes: Vec<String>,
    targets: Vec<Target>,
    pixels: Vec<u8>,
    width: u32,
    height: u32,
    channels: usize,
}

impl Idx {
    /// Reads `part` of a folder: `{part}-images-idx3-ubyte` and `{part}-labels-idx1-ubyte`, with `.gz` or without.
    /// MNIST's parts are `train` and `t10k`. Classes are named `0`, `1`, … unless [`with_classes`](Self::with_classes)
    /// says otherwise.
    ///
    /// # Errors
    /// [`DataError::Io`], [`DataError::Idx`].
    pub fn open(folder: impl AsRef<Path>, part: &str) -> Result<Self> {
        let folder = folder.as_ref();
        Self::from_files(
            find(folder, &format!("{part}-images-idx3-ubyte"))?,
            find(folder, &format!("{part}-labels-idx1-ubyte"))?,
        )
    }

    /// Whether [`open`](Self::open) would find files for `part`.
    pub fn is_there(folder: impl AsRef<Path>, part: &str) -> bool {
        find(folder.as_ref(), &format!("{part}-images-idx3-ubyte")).is_ok()
    }

    /// Reads a file of pictures ([N, H, W] or [N, H, W, 3] u8) and one of labels (\[N\] u8).
    ///
    /// # Errors
    /// [`DataError::Io`], [`DataError::Idx`].
    pub fn from_files(images: impl AsRef<Path>, labels: impl AsRef<Path>) -> Result<Self> {
        let path = images.as_ref().to_path_buf();
        let (shape, pixels) = read(&path)?;
        let (label_shape, labels_read) = read(labels.as_ref())?;
        let problem = |path: &Path, reason: String| DataError::Idx { path: path.to_path_buf(), reason };
        let (height, width, channels) = match shape[..] {
            [_, height, width] => (height, width, 1),
            [_, height, width, 3] => (height, width, 3),
            _ => {
                return Err(problem(
                    &path,
                    format!("its shape is {shape:?}, pictures are [N, H, W] or [N, H, W, 3]"),
                ))
            }
        };
        if label_shape.len() != 1 || label_shape[0] != shape[0] {
            let reason =
                format!("its shape is {label_shape:?}, but {} has {} pictures", path.display(), shape[0]);
            return Err(problem(labels.as_ref(), reason));
        }
        if height == 0 || width == 0 {
            return Err(problem(&path, format!("its pictures have {width}×{height} pixels")));
        }
        let count = labels_read.iter().max().map_or(0, |highest| usize::from(*highest) + 1);
        Ok(Idx {
            path,
            classes: (0..count).map(|class| class.to_string()).collect(),
            targets: labels_read.iter().map(|label| Target::Class(usize::from(*label))).collect(),
            pixels,
            width,
            height,
            channels,
        })
    }

    /// Names the classes.
    ///
    /// # Errors
    /// [`DataError::Idx`] where a label has no name.
    pub fn with_classes(mut self, names: Vec<String>) -> Result<Self> {
        if names.len() < self.classes.len() {
            let reason = format!(
                "its labels go up to {}, but {} names are given",
                self.classes.len() - 1,
                names.len()
            );
            return Err(DataError::Idx { path: self.path, reason });
        }
        self.classes = names;
        Ok(self)
    }

    /// The pictures' (width, height).
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// (mean, standard deviation) of all pixels, scaled to 0 to 1, of each channel: one number each for gray pictures,
    /// three for RGB.
    pub fn moments(&self) -> (Vec<f64>, Vec<f64>) {
        let channel = |channel: usize| {
            // Sums of bytes and their squares are exact.
            let (mut sum, mut squares, mut count) = (0u64, 0u64, 0u64);
            for &value in self.pixels.iter().skip(channel).step_by(self.channels) {
                let value = u64::from(value);
                (sum, squares, count) = (sum + value, squares + value * value, count + 1);
            }
            let count = count.max(1) as f64;
            let mean = sum as f64 / count;
            let variance = squares as f64 / count - mean * mean;
            (mean / 255.0, variance.max(0.0).sqrt() / 255.0)
        };
        (0..self.channels).map(channel).unzip()
    }
}

impl Dataset for Idx {
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
        format!("{}[{index}]", self.path.display())
    }

    fn picture(&self, index: usize) -> Result<RgbImage> {
        let size = self.width as usize * self.height as usize * self.channels;
        let pixels = &self.pixels[index * size..(index + 1) * size];
        let mut picture = RgbImage::new(self.width, self.height);
        match self.channels {
            3 => picture.copy_from_slice(pixels),
            _ => picture.pixels_mut().zip(pixels).for_each(|(to, gray)| to.0 = [*gray; 3]),
        }
        Ok(picture)
    }

    fn root(&self) -> &Path {
        &self.path
    }
}

fn find(folder: &Path, name: &str) -> Result<PathBuf> {
    let candidates =
        [folder.join(format!("{name}.gz")), folder.join(name), folder.join(name.replacen("-idx", ".idx", 1))];
    match candidates.iter().find(|path| path.is_file()) {
        Some(path) => Ok(path.clone()),
        None => Err(DataError::Io { path: folder.join(name), source: std::io::ErrorKind::NotFound.into() }),
    }
}

/// The shape and the bytes.
fn read(path: &Path) -> Result<(Vec<u32>, Vec<u8>)> {
    let io = |source| DataError::Io { path: path.to_path_buf(), source };
    let problem = |reason: String| DataError::Idx { path: path.to_path_buf(), reason };
    let start = {
        let mut start = [0; 2];
        let mut file = File::open(path).map_err(io)?;
        let read = file.read(&mut start).map_err(io)?;
        start[..read].to_vec()
    };
    let bytes = if start == [0x1f, 0x8b] {
        let mut bytes = Vec::new();
        let reader = GzDecoder::new(File::open(path).map_err(io)?);
        reader.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
        bytes
    } else {
        let size = fs::metadata(path).map_err(io)?.len();
        if size > MAX_BYTES {
            return Err(problem(format!("it has {size} bytes, more than {MAX_BYTES}")));
        }
        fs::read(path).map_err(io)?
    };
    if bytes.len() as u64 > MAX_BYTES {
        return Err(problem(format!("it unpacks to more than {MAX_BYTES} bytes")));
    }
    let [0, 0, kind, rank, rest @ ..] = &bytes[..] else {
        return Err(problem("it does not begin with two zeros, a type and a rank".to_string()));
    };
    if *kind != 8 {
        return Err(problem(format!(
            "its values are of type {kind:#04x}, only unsigned bytes (0x08) are read"
        )));
    }
    let header = usize::from(*rank) * 4;
    if rest.len() < header {
        return Err(problem("it ends within its header".to_string()));
    }
    let (sizes, values) = rest.split_at(header);
    let shape: Vec<u32> =
        sizes.chunks_exact(4).map(|size| u32::from_be_bytes([size[0], size[1], size[2], size[3]])).collect();
    let expected = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size as usize));
    if expected != Some(values.len()) {
        return Err(problem(format!("its header says {shape:?}, but {} bytes follow", values.len())));
    }
    Ok((shape, values.to_vec()))
}

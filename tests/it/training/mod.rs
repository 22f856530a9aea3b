//! Training against live PyTorch, and runs that are stopped in every way.

mod freezing;
mod loop_of_pytorch;
mod optimizers;
mod refusing;
mod runs;
mod schedules;
mod stopping;

use densenet::transforms::RgbImage;
use std::path::Path;

/// A folder of noisy pictures, `count` of each class, whose colour tells the class.
pub fn picture_folder(root: &Path, classes: &[&str], count: u32, side: u32) {
    for (number, class) in classes.iter().enumerate() {
        let folder = root.join(class);
        std::fs::create_dir_all(&folder).unwrap();
        for index in 0..count {
            let picture = RgbImage::from_fn(side, side, |x, y| {
                let noise = ((x * 31 + y * 17 + index * 101 + number as u32 * 7) * 2_654_435_761u32) >> 26;
                let mut pixel = [noise as u8 + 60; 3];
                pixel[number % 3] += 100;
                image::Rgb(pixel)
            });
            picture.save(folder.join(format!("{index:03}.png"))).unwrap();
        }
    }
}

/// MNIST's files with pictures of 8×8 pixels of three classes, which the bright row tells: 48 to learn from, 24 to be judged
/// by.
pub fn idx_folder(root: &Path) {
    for (part, count) in [("train", 48u32), ("t10k", 24)] {
        let mut images = vec![0, 0, 8, 3];
        let mut labels = vec![0, 0, 8, 1];
        for size in [count, 8, 8] {
            images.extend(size.to_be_bytes());
        }
        labels.extend(count.to_be_bytes());
        for index in 0..count {
            let class = index % 3;
            labels.push(class as u8);
            for row in 0..8 {
                for column in 0..8 {
                    let noise = (((row * 8 + column + index * 64) * 2_654_435_761u32) >> 26) as u8;
                    images.push(if row / 2 == class { noise + 190 } else { noise });
                }
            }
        }
        std::fs::write(root.join(format!("{part}-images-idx3-ubyte")), images).unwrap();
        std::fs::write(root.join(format!("{part}-labels-idx1-ubyte")), labels).unwrap();
    }
}

//! The first convolution, line by line.

use super::packed::Packed;
use super::tile::{Stretch, MAX_HEIGHT};
use crate::kernels::shared::Shared;
use crate::kernels::simd::{Kernel, Vector};
use crate::kernels::threads::part;
use crate::kernels::{padded, Aligned, Machine, RowsMut};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Pictures as torch has them: \[count, channels, height, width\], contiguous.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// All numbers.
    pub data: &'a [f32],
    /// How many.
    pub count: usize,
    /// Lines of each, at least 1.
    pub height: usize,
    /// Pixels of a line, at least 1.
    pub width: usize,
}

/// Where the outputs go, and what happens to them first.
#[derive(Debug)]
pub struct Output<'a> {
    /// A row for each pixel: the outputs, and zeros up to the padded width.
    pub to: RowsMut<'a>,
    /// Whether a ReLU follows the bias.
    pub relu: bool,
    /// Whether 3×3/2 max-pooling with padding 1 follows.
    pub pool: bool,
}

/// Memory that one call after another uses again.
#[derive(Debug, Default)]
pub struct Scratch(Vec<Mutex<Slot>>);

#[derive(Debug, Default)]
struct Slot {
    /// The input lines of one window, padded: slot by slot, in it channel by channel.
    lines: Aligned,
    /// The outputs that one line of pooling reads.
    outputs: Aligned,
}

/// Convolves (padding kernel/2), adds the bias, rectifies and pools as `output` says.
///
/// # Panics
/// Where a slice is too short, or the weight was packed for another level.
pub fn convolve(on: Machine, scratch: &mut Scratch, input: Input, weight: &Packed, output: Output) {
    let Input { data, count, height, width } = input;
    assert!(height > 0 && width > 0, "stem: pictures of {height}×{width}");
    let inputs = weight.inputs();
    assert!(data.len() >= count * inputs * height * width, "stem: {} numbers for {input:?}", data.len());
    let (down, across) = (weight.along(height), weight.along(width));
    let halved = |n: usize| if output.pool { (n - 1) / 2 + 1 } else { n };
    let (lines, row_width) = (halved(down), padded(weight.outputs()));
    let rows = count * lines * halved(across);
    output.to.as_rows().check("the stem's output", rows, row_width);
    assert!(weight.level() == on.level, "stem: the weight is packed for another level");

    let units = count * lines;
    let parts = on.threads.count().min(units);
    if scratch.0.len() < parts {
        scratch.0.resize_with(parts, Mutex::default);
    }
    let (slots, to) = (&scratch.0, Shared(output.to.data.as_mut_ptr()));
    let (ld, relu, pool) = (output.to.ld, output.relu, output.pool);
    on.threads.run(parts, &|index| {
        let slot = &mut *slots[index].lock().unwrap_or_else(PoisonError::into_inner);
        let units = part(units, parts, index);
        on.level.run(Part { input, weight, to, ld, relu, pool, lines, units, slot });
    });
}

/// Some lines of the result.
struct Part<'a> {
    input: Input<'a>,
    weight: &'a Packed,
    to: Shared,
    ld: usize,
    relu: bool,
    pool: bool,
    /// Lines of the result in one picture.
    lines: usize,
    units: Range<usize>,
    slot: &'a mut Slot,
}

impl Kernel for Part<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let Part { input, weight, to, ld, relu, pool, lines, units, slot } = self;
        let (down, across) = (weight.along(input.height), weight.along(input.width));
        let row_width = padded(weight.outputs());
        let outputs = slot.outputs.take(if pool { 3 * across * row_width } else { 0 }).as_mut_ptr();
        let mut window = Window::new(input, weight, &mut slot.lines);
        // The next output line to be computed for pooling.
        let (mut picture, mut next) = (usize::MAX, 0);
        for unit in units {
            let line = unit % lines;
            window.picture(unit / lines);
            if !pool {
                // SAFETY: `convolve` checked that all rows are there; this line is this part's alone.
                unsafe { window.outputs::<V>(line, relu, to.get().add(unit * across * ld), ld) };
                continue;
            }
            if picture != unit / lines {
                (picture, next) = (unit / lines, 0);
            }
            let from = (2 * line).saturating_sub(1)..(2 * line + 2).min(down);
            for line in next.max(from.start)..from.end {
                // SAFETY: there is room for three lines.
                unsafe {
                    window.outputs::<V>(line, relu, outputs.add(line % 3 * across * row_width), row_width);
                }
            }
            next = from.end;
            let pooled = (across - 1) / 2 + 1;
            // SAFETY: the three lines were computed just now or for the line before; as above.
            unsafe {
                let lines = from.map(|line| outputs.add(line % 3 * across * row_width).cast_const());
                pool_lines::<V>(lines, across, row_width, to.get().add(unit * pooled * ld), ld);
            }
        }
    }
}

/// max over 3×3 windows, 2 apart, of lines that lie over each other.
///
/// # Safety
/// `lines` have `across` rows of `width`; (`across` − 1)/2 + 1 rows of `to` can be written.
#[inline(always)]
unsafe fn pool_lines<V: Vector>(
    lines: impl Iterator<Item = *const f32>,
    across: usize,
    width: usize,
    to: *mut f32,
    ld: usize,
) {
    let mut over = [std::ptr::null(); 3];
    let mut count = 0;
    for line in lines.take(3) {
        over[count] = line;
        count += 1;
    }
    for x in 0..(across - 1) / 2 + 1 {
        let columns = (2 * x).saturating_sub(1)..(2 * x + 2).min(across);
        for c in (0..width).step_by(V::LANES) {
            // SAFETY: the caller's.
            unsafe {
                let mut max = V::load(over[0].add(columns.start * width + c));
                for line in &over[..count] {
                    for column in columns.clone() {
                        max = max.max(V::load(line.add(column * width + c)));
                    }
                }
                max.store(to.add(x * ld + c));
            }
        }
    }
}

/// The input lines that the outputs of one line read, each padded left and right; moves down a picture.
struct Window<'a> {
    input: Input<'a>,
    weight: &'a Packed,
    lines: &'a mut [f32],
    /// Where the lines of the current window begin, channel by channel.
    pointers: Vec<*const f32>,
    /// Numbers of a padded line.
    length: usize,
    picture: usize,
    /// The next line to be loaded, counted from the padding's first.
    next: usize,
}

impl<'a> Window<'a> {
    #[inline(always)]
    fn new(input: Input<'a>, weight: &'a Packed, lines: &'a mut Aligned) -> Self {
        let (kernel, stride) = (weight.kernel(), weight.stride());
        let length =
            (stride * (weight.along(input.width) + MAX_HEIGHT) + kernel).max(input.width + 2 * kernel);
        let lines = lines.take(kernel * weight.inputs() * length);
        // What no line writes stays zero: the padding.
        lines.fill(0.0);
        Window { input, weight, lines, pointers: Vec::new(), length, picture: usize::MAX, next: 0 }
    }

    #[inline(always)]
    fn picture(&mut self, picture: usize) {
        if self.picture != picture {
            (self.picture, self.next) = (picture, 0);
        }
    }

    /// Output line `line`, all panels, to `to`.
    ///
    /// # Safety
    /// So many rows can be written there.
    #[inline(always)]
    unsafe fn outputs<V: Vector>(&mut self, line: usize, relu: bool, to: *mut f32, ld: usize) {
        let weight = self.weight;
        let (kernel, stride, inputs) = (weight.kernel(), weight.stride(), weight.inputs());
        let first = line * stride;
        for line in self.next.max(first)..first + kernel {
            self.load(line);
        }
        self.next = first + kernel;
        self.pointers.clear();
        for input in 0..inputs {
            for line in first..first + kernel {
                self.pointers.push(self.lines[(line % kernel * inputs + input) * self.length..].as_ptr());
            }
        }
        for column in (0..padded(weight.outputs())).step_by(weight.panel()) {
            let (panel, bias) = weight.get(column);
            let stretch = Stretch {
                lines: &self.pointers,
                kernel,
                stride,
                weight: panel.as_ptr(),
                bias: bias.as_ptr(),
                relu,
                count: weight.along(self.input.width),
                to: to.wrapping_add(column),
                ld,
            };
            // SAFETY: lines are `length` long, which `new` made enough; the caller's.
            unsafe { stretch.run::<V>(weight.width(column) / V::LANES) };
        }
    }

    /// All channels of one line, counted from the padding's first; zeros outside the picture.
    #[inline(always)]
    fn load(&mut self, line: usize) {
        let Input { data, height, width, .. } = self.input;
        let (kernel, inputs, pad) = (self.weight.kernel(), self.weight.inputs(), self.weight.kernel() / 2);
        for input in 0..inputs {
            let to = &mut self.lines[(line % kernel * inputs + input) * self.length + pad..][..width];
            if (pad..height + pad).contains(&line) {
                let from = ((self.picture * inputs + input) * height + line - pad) * width;
                to.copy_from_slice(&data[from..from + width]);
            } else {
                to.fill(0.0);
            }
        }
    }
}

//! The cost of channels-last images on Burn, whose convolutions need channels first: two convolutions
//! with a ReLU between them, on images in either order.
//!
//! `cargo bench --bench channels` prints the minimum of several rounds in milliseconds, and the ratio.

use std::hint::black_box;
use std::time::Instant;

use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Distribution, Tensor, activation, module};

const ROUNDS: usize = 15;

#[expect(
    deprecated,
    reason = "Burn will replace ndarray by flex, but ndarray is what most programs use today"
)]
fn device() -> Device {
    Device::ndarray()
}

fn conv(x: Tensor<4>, kernel: &Tensor<4>) -> Tensor<4> {
    let options = ConvOptions {
        stride: [1, 1],
        padding: [(1, 1), (1, 1)],
        dilation: [1, 1],
        groups: 1,
    };
    module::conv2d(x, kernel.clone(), None, options)
}

/// The shortest of several rounds, in milliseconds.
fn minimum(mut work: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed().as_secs_f64() * 1e3);
    }
    best
}

fn main() {
    let device = device();
    let random =
        |shape: [usize; 4]| Tensor::<4>::random(shape, Distribution::Uniform(-1.0, 1.0), &device);
    println!(
        "{:>18} {:>14} {:>13} {:>6}",
        "images", "first, ms", "last, ms", "ratio"
    );
    for (batch, side, channels) in [(8, 28, 8), (8, 28, 32), (8, 56, 32), (1, 112, 64)] {
        let kernel = random([channels, channels, 3, 3]);
        let first = random([batch, channels, side, side]);
        let last = random([batch, side, side, channels]);
        let by_first = minimum(|| {
            let x = activation::relu(conv(first.clone(), &kernel));
            black_box(conv(x, &kernel).sum().into_scalar::<f32>());
        });
        let by_last = minimum(|| {
            // As in a Keras layer: permuted before and after each convolution.
            let once = |x: Tensor<4>| conv(x.permute([0, 3, 1, 2]), &kernel).permute([0, 2, 3, 1]);
            let x = activation::relu(once(last.clone()));
            black_box(once(x).sum().into_scalar::<f32>());
        });
        let images = format!("{batch}x{side}x{side}x{channels}");
        println!(
            "{images:>18} {by_first:>14.2} {by_last:>13.2} {:>6.2}",
            by_last / by_first
        );
    }
}

//! Cost by load: measures and draws the curves of `docs/performance.md`.

use std::alloc::{GlobalAlloc, Layout};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use plotters::prelude::*;

use crate::program::{at_depth, nanos};
use crate::stacks::{Order, at_stacks};

/// What is measured as a function of what, and how it is drawn.
pub struct Curve {
    name: &'static str,
    title: &'static str,
    x: &'static str,
    /// The x axis is logarithmic.
    is_log: bool,
}

pub const CURVES: &[Curve] = &[
    Curve {
        name: "depth",
        title: "One alloc + free of 64 bytes, by depth of the stack",
        x: "frames",
        is_log: false,
    },
    Curve {
        name: "threads",
        title: "One alloc + free at depth 15, by number of threads",
        x: "threads",
        is_log: false,
    },
    Curve {
        name: "live",
        title: "One free of a random live block + one alloc, by number of live blocks",
        x: "live blocks",
        is_log: true,
    },
    Curve {
        name: "stacks-repeated",
        title: "One alloc + free, by number of stacks, visited in a repeated order",
        x: "stacks",
        is_log: true,
    },
    Curve {
        name: "stacks-random",
        title: "One alloc + free, by number of stacks, visited in random order",
        x: "stacks",
        is_log: true,
    },
    Curve {
        name: "size",
        title: "One alloc + free at depth 15, by size of the block",
        x: "bytes",
        is_log: true,
    },
];

/// The child process: prints lines of `curve allocator x nanoseconds`.
pub fn measure<A: GlobalAlloc + Sync>(name: &str, heap: &'static A) {
    let print = |curve: &str, x: f64, nanos: f64| println!("{curve} {name} {x} {nanos}");
    let is_slow = name == "dhat";
    let pairs = if is_slow { 2_000 } else { 100_000 };
    for depth in [2, 5, 10, 15, 20, 30, 40, 60] {
        print("depth", f64::from(depth), nanos(heap, depth, 1, pairs));
    }
    if is_slow {
        return;
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    for threads in 1..=processors {
        print("threads", threads as f64, nanos(heap, 15, threads, pairs));
    }
    for live in [1_000, 10_000, 100_000, 1_000_000, 10_000_000] {
        print("live", f64::from(live), among_live(heap, live as usize));
    }
    for stacks in [8, 100, 1_000, 10_000, 100_000, 200_000] {
        let x = f64::from(stacks);
        print(
            "stacks-repeated",
            x,
            at_stacks(heap, stacks, Order::Repeated),
        );
        print("stacks-random", x, at_stacks(heap, stacks, Order::Random));
    }
    for size in [
        16,
        64,
        256,
        1 << 10,
        4 << 10,
        16 << 10,
        64 << 10,
        256 << 10,
        1 << 20,
    ] {
        print("size", size as f64, of_size(heap, size));
    }
}

const ROUNDS: usize = 5;

/// Nanoseconds for freeing a random one of this many live blocks and allocating another.
fn among_live<A: GlobalAlloc>(heap: &A, live: usize) -> f64 {
    const STEPS: usize = 1 << 18;
    let layout = Layout::from_size_align(64, 8).expect("a valid layout");
    let new = || {
        // SAFETY: the size is not 0. The block is written, as any program does.
        unsafe {
            let at = heap.alloc(layout);
            at.cast::<u64>().write_volatile(1);
            at
        }
    };
    let mut blocks: Vec<*mut u8> = (0..live).map(|_| new()).collect();
    let mut random = afterdrop::bench::Random::new(live as u64);
    let order: Vec<u32> = (0..STEPS).map(|_| random.index(live) as u32).collect();
    let mut round = || {
        let start = Instant::now();
        for &i in &order {
            let slot = &mut blocks[i as usize];
            // SAFETY: allocated by `new` with this layout, and replaced below.
            unsafe {
                slot.cast::<u64>().read_volatile();
                heap.dealloc(*slot, layout);
            }
            *slot = new();
        }
        start.elapsed().as_nanos() as f64 / STEPS as f64
    };
    let best = (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min);
    for at in blocks {
        // SAFETY: allocated by `new`.
        unsafe { heap.dealloc(at, layout) };
    }
    best
}

/// Nanoseconds for an alloc and free of this size.
fn of_size<A: GlobalAlloc>(heap: &A, size: usize) -> f64 {
    const PAIRS: u32 = 20_000;
    let layout = Layout::from_size_align(size, 8).expect("a valid layout");
    // One block is live already, as in `program.rs`.
    // SAFETY: not of size zero.
    let first = unsafe { heap.alloc(layout) };
    let round = || {
        let start = Instant::now();
        for _ in 0..PAIRS {
            // SAFETY: not of size zero, and freed with its layout.
            unsafe { heap.dealloc(std::hint::black_box(heap.alloc(layout)), layout) };
        }
        start.elapsed().as_nanos() as f64 / f64::from(PAIRS)
    };
    let nanos = at_depth(15, &|| {
        (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
    });
    // SAFETY: allocated above, with this layout.
    unsafe { heap.dealloc(first, layout) };
    nanos
}

/// The points of each curve and allocator.
pub type Points = BTreeMap<(String, String), BTreeMap<u64, f64>>;

/// Adds the lines of a child process, keeping the lowest figures.
pub fn add(lines: &str, points: &mut Points) {
    for line in lines.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [curve, heap, x, nanos] = fields[..] else {
            continue;
        };
        let line = points.entry((curve.into(), heap.into())).or_default();
        let x = x.parse().expect("a whole number");
        let nanos: f64 = nanos.parse().expect("nanoseconds");
        let lowest = line.entry(x).or_insert(nanos);
        *lowest = lowest.min(nanos);
    }
}

/// The allocators in the order in which they are drawn, with their labels and colours.
const HEAPS: [(&str, &str, RGBColor); 4] = [
    ("bare", "jemalloc, bare", RGBColor(110, 118, 129)),
    ("sampled", "one block in 512 KiB", RGBColor(31, 136, 61)),
    ("ledger", "every block", RGBColor(9, 105, 218)),
    ("dhat", "dhat 0.3.3", RGBColor(207, 34, 46)),
];

impl Curve {
    fn lines<'p>(
        &self,
        points: &'p Points,
    ) -> Vec<(&'static str, RGBColor, &'p BTreeMap<u64, f64>)> {
        let of = |heap: &str| points.get(&(self.name.to_owned(), heap.to_owned()));
        HEAPS
            .iter()
            .filter_map(|&(heap, label, color)| Some((label, color, of(heap)?)))
            .collect()
    }

    /// The curve as a Markdown table.
    pub fn table(&self, points: &Points) -> String {
        let lines = self.lines(points);
        let mut table = format!("| {} |", self.x);
        lines
            .iter()
            .for_each(|(label, ..)| table += &format!(" {label} |"));
        table += &format!("\n|{}\n", " ---: |".repeat(lines.len() + 1));
        for x in lines
            .iter()
            .flat_map(|l| l.2.keys())
            .collect::<std::collections::BTreeSet<_>>()
        {
            table += &format!("| {} |", grouped(*x));
            for (_, _, line) in &lines {
                let nanos = line.get(x).map_or(String::new(), |&n| shown(n));
                table += &format!(" {nanos} |");
            }
            table += "\n";
        }
        table
    }

    /// Draws the curve into `<folder>/<name>.svg`.
    pub fn draw(&self, points: &Points, folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
        let lines = self.lines(points);
        let all = || lines.iter().flat_map(|l| l.2);
        let (least, most) = all().fold((u64::MAX, 0), |(a, b), (&x, _)| (a.min(x), b.max(x)));
        let highest = all().map(|(_, &n)| n).fold(0.0, f64::max);
        let lowest = all().map(|(_, &n)| n).fold(f64::INFINITY, f64::min);
        let path = folder.join(format!("{}.svg", self.name));
        let root = SVGBackend::new(&path, (720, 400)).into_drawing_area();
        root.fill(&WHITE)?;
        // One allocator takes a hundred times as long as another, so that the y axis is always
        // logarithmic. The upper end leaves room for the legend.
        let y = (lowest / 1.5..highest * 10.0).log_scale();
        let mut builder = ChartBuilder::on(&root);
        builder
            .caption(self.title, ("sans-serif", 17))
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(64);
        if self.is_log {
            let x = (least as f64 / 1.2..most as f64 * 1.2).log_scale();
            plot(&mut builder.build_cartesian_2d(x, y)?, self.x, &lines)?;
        } else {
            let x: Range<f64> = least.saturating_sub(1) as f64..most as f64 + 1.0;
            plot(&mut builder.build_cartesian_2d(x, y)?, self.x, &lines)?;
        }
        root.present()?;
        Ok(())
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn title(&self) -> &'static str {
        self.title
    }
}

fn plot<'a, X>(
    chart: &mut ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, LogCoord<f64>>>,
    x: &str,
    lines: &[(&str, RGBColor, &BTreeMap<u64, f64>)],
) -> Result<(), Box<dyn std::error::Error>>
where
    X: Ranged<ValueType = f64> + plotters::coord::ranged1d::ValueFormatter<f64>,
{
    chart
        .configure_mesh()
        .x_desc(x)
        .y_desc("nanoseconds")
        .x_label_formatter(&|x| grouped(x.round() as u64))
        .y_label_formatter(&|y| shown(*y))
        .light_line_style(RGBColor(240, 240, 240))
        .draw()?;
    for &(label, color, line) in lines {
        let points: Vec<(f64, f64)> = line.iter().map(|(&x, &n)| (x as f64, n)).collect();
        chart
            .draw_series(LineSeries::new(points.clone(), color.stroke_width(2)))?
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        chart.draw_series(points.iter().map(|&at| Circle::new(at, 3, color.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(RGBColor(220, 220, 220))
        .draw()?;
    Ok(())
}

/// About three significant digits.
fn shown(nanos: f64) -> String {
    match nanos {
        n if n < 100.0 => format!("{n:.1}"),
        n => grouped(n.round() as u64),
    }
}

/// With a comma after every three digits.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

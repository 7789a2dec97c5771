// A leak test. `cargo test --example check` runs it.

#[global_allocator]
static HEAP: afterdrop::Heap = afterdrop::Heap::new();

#[test]
fn a_reload_leaks_nothing() {
    afterdrop::Check::new("reload").run(|cycle| {
        let model = cycle.load(|| vec![0.5_f32; 1000]);
        let sum: f32 = cycle.infer(|| model.iter().sum());
        assert_eq!(sum, 500.0);
    });
}

fn main() {}

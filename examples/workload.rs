// A command that measures a workload: `cargo run --example workload --features cli -- run sum`.

use afterdrop::workloads::Entry;

#[global_allocator]
static HEAP: afterdrop::Heap = afterdrop::Heap::new();

fn main() -> std::process::ExitCode {
    let sum = Entry::from_fn("sum", "loads weights and adds them up", || {
        let weights = vec![0.5_f32; 1000];
        Ok(move || Ok(vec![weights.iter().sum()]))
    });
    afterdrop::main(vec![sum])
}

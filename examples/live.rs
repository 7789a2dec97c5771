//! A service that is judged while it runs: `cargo run --features live --example live [ADDRESS]`, then open
//! `/debug/afterdrop` there. It has a leak.

use std::time::Duration;

use afterdrop::live::Settings;

#[global_allocator]
static HEAP: afterdrop::Heap = afterdrop::Heap::live();

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:9091".into());
    // Windows of a second, so that there is something to see within a minute. A service has longer ones.
    let settings = Settings::default()
        .window(Duration::from_secs(1))
        .analysis(Duration::from_secs(5))
        .listen(address.parse()?);
    let live = afterdrop::Live::start(settings)?;
    println!(
        "http://{}/debug/afterdrop",
        live.address().ok_or("no listener")?
    );
    let mut sessions = Vec::new();
    for request in 0_u64.. {
        let answer = vec![request as u8; 100_000];
        if request % 100 == 0 {
            // Nobody ever removes a session.
            sessions.push(answer[..10_000].to_vec());
        }
        drop(answer);
        live.cycle();
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

//! Gauges: numbers that are asked for when somebody looks.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

type Gauge = Box<dyn Fn() -> f64 + Send>;

/// The gauges of a server, by name.
#[derive(Default)]
pub struct Metrics {
    gauges: Mutex<BTreeMap<String, Gauge>>,
}

impl Metrics {
    /// Sets the gauge of this name, in place of an earlier one.
    pub fn gauge(&self, name: String, value: impl Fn() -> f64 + Send + 'static) {
        let mut gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.insert(name, Box::new(value));
    }

    /// All gauges as Prometheus reads them.
    pub fn text(&self) -> String {
        let gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for (name, value) in &*gauges {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "{name} {}", value());
        }
        text
    }
}

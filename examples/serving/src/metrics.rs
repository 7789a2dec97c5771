//! Gauges: values that are read when the metrics are requested.

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
    /// Sets the gauge with this name, and drops an earlier one.
    pub fn gauge(&self, name: String, value: impl Fn() -> f64 + Send + 'static) {
        let mut gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.insert(name, Box::new(value));
    }

    /// All gauges in the Prometheus text format.
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

//! Gauges in OpenMetrics text.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

pub(crate) use prometheus_client::registry::Unit;

type Labels = Vec<(String, String)>;

/// Gauges, and the labels that all of them have.
pub(crate) struct Metrics {
    registry: Registry,
    labels: Labels,
}

impl Metrics {
    /// No gauges yet. All will have these labels.
    pub(crate) fn new(labels: &[(&str, &str)]) -> Self {
        Self {
            registry: Registry::with_prefix("afterdrop"),
            labels: owned(labels).collect(),
        }
    }

    /// Adds gauges of this name, which ends with the unit if there is one.
    pub(crate) fn gauges(&mut self, name: &str, help: &str, unit: Option<Unit>) -> Gauges {
        let family = Family::default();
        match unit {
            Some(unit) => self
                .registry
                .register_with_unit(name, help, unit, family.clone()),
            None => self.registry.register(name, help, family.clone()),
        }
        Gauges {
            family,
            labels: self.labels.clone(),
        }
    }

    /// Adds a gauge of this name without labels of its own, and sets it if the value is known.
    pub(crate) fn set(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        value: impl Into<Option<f64>>,
    ) {
        let gauges = self.gauges(name, help, unit);
        if let Some(value) = value.into() {
            gauges.set(&[], value);
        }
    }

    /// The text.
    ///
    /// # Errors
    /// If a value cannot be written.
    pub(crate) fn text(&self) -> Result<String, String> {
        let mut text = String::new();
        encode(&mut text, &self.registry).map_err(|e| e.to_string())?;
        Ok(in_order(&text))
    }
}

/// The gauges of one name.
pub(crate) struct Gauges {
    family: Family<Labels, Gauge<f64, AtomicU64>>,
    labels: Labels,
}

impl Gauges {
    /// Sets the gauge with these labels.
    pub(crate) fn set(&self, labels: &[(&str, &str)], value: f64) {
        let labels: Labels = self.labels.iter().cloned().chain(owned(labels)).collect();
        self.family.get_or_create(&labels).set(value);
    }
}

fn owned(labels: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    labels
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
}

/// The same text with the samples of each metric sorted, because they come in the order of a hash
/// table.
fn in_order(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    for samples in lines.chunk_by_mut(|a, b| !a.starts_with('#') && !b.starts_with('#')) {
        samples.sort_unstable();
    }
    lines.join("\n") + "\n"
}

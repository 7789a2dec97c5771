//! The JSON Schema of `report.json`, generated from the types.

use crate::model::report::{Report, SCHEMA};

/// The JSON Schema (draft 2020-12) of a report.
pub fn schema() -> String {
    let mut schema = schemars::schema_for!(Report);
    schema.insert("title".into(), format!("afterdrop report, {SCHEMA}").into());
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

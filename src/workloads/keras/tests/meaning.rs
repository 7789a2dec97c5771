//! Configurations that mean something else than they seem to: refused, never computed as what they
//! seem.

use super::*;

fn input(name: &str, more: &Json) -> Json {
    let mut config = json!({"name": name, "batch_shape": [null, 4]});
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    json!({"class_name": "InputLayer", "config": config, "inbound_nodes": []})
}

/// A model of one input `x` and these layers, the last of which is its output `y`.
fn model(input: Json, layers: &[Json]) -> String {
    let layers: Vec<&Json> = [&input].into_iter().chain(layers).collect();
    let config = json!({"name": "m", "layers": layers,
        "input_layers": [["x", 0, 0]], "output_layers": [["y", 0, 0]]});
    json!({"class_name": "Functional", "config": config}).to_string()
}

#[test]
fn training_is_refused_of_keras_2_which_obeys_it() {
    let dropout = json!({"class_name": "Dropout", "config": {"name": "y", "trainable": true},
        "inbound_nodes": [[["x", 0, 0, {"training": true}]]]});
    let config = model(input("x", &json!({})), &[dropout]);
    let says = "layer `y`: its class `Dropout` is called with `training=True`";
    refused("variants/keras2_begun/model.keras", &config, says);
    // Keras 3 predicts as it predicts.
    let dropout = json!({"class_name": "Dropout", "config": {"name": "y", "trainable": true},
        "inbound_nodes": [{"args": [tensor("x")], "kwargs": {"training": true}}]});
    let plain = with_config(
        "mlp/model.keras",
        &model(input("x", &json!({})), &[dropout]),
    );
    read(&plain.0, true).unwrap();
}

#[test]
fn a_dictionary_of_other_names_is_refused() {
    let dense = json!({"class_name": "Flatten", "config": {"name": "y", "trainable": true},
        "inbound_nodes": [{"args": [{"a": tensor("x")}], "kwargs": {}}]});
    let says = "layer `y`: its class `Flatten` is called with a dictionary";
    refused(
        "mlp/model.keras",
        &model(input("x", &json!({})), &[dense]),
        says,
    );
}

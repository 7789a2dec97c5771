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

#[test]
fn custom_code_by_the_name_of_keras_own_is_refused() {
    let flatten = json!({"module": null, "class_name": "Flatten", "registered_name": "Flatten",
        "config": {"name": "y"},
        "inbound_nodes": [{"args": [tensor("x")], "kwargs": {}}]});
    let config = model(input("x", &json!({})), &[flatten]);
    let says = "layer `y` is of a custom class by the name of Keras's own `Flatten`";
    refused("mlp/model.keras", &config, says);
    let own = json!({"module": "mine.models", "class_name": "Functional", "registered_name": "mine",
        "config": {"name": "m", "layers": []}});
    let says = "`m` is of a custom class `Functional`";
    refused("mlp/model.keras", &own.to_string(), says);
    let function = json!({"module": "builtins", "class_name": "function", "config": "swish",
        "registered_name": "function"});
    let layer = json!({"class_name": "Activation",
        "config": {"name": "y", "trainable": true, "activation": function},
        "inbound_nodes": [{"args": [tensor("x")], "kwargs": {}}]});
    let config = model(input("x", &json!({})), &[layer]);
    let says = "its `activation`: it is a function of its own";
    refused("mlp/model.keras", &config, says);
}

#[test]
fn what_would_wrap_around_is_refused() {
    let bytes = || input("x", &json!({"dtype": "uint8"}));
    let add = json!({"class_name": "Add", "config": {"name": "y", "trainable": true},
        "inbound_nodes": [{"args": [[tensor("x"), tensor("x")]], "kwargs": {}}]});
    let says = "layer `y` of the class `Add`: what it computes in the type `uint8` may wrap around";
    refused("mlp/model.keras", &model(bytes(), &[add]), says);
    let times = |number: Json| {
        json!({"class_name": "Multiply", "config": {"name": "y"},
            "inbound_nodes": [{"args": [tensor("x"), number], "kwargs": {}}]})
    };
    let says = "layer `y` of the class `Multiply`: what it computes in the type `uint8`";
    refused("mlp/model.keras", &model(bytes(), &[times(json!(3))]), says);
    let plain = with_config("mlp/model.keras", &model(bytes(), &[times(json!(0.5))]));
    read(&plain.0, true).unwrap();
    let cast = json!({"class_name": "Cast", "config": {"name": "y", "dtype": "int8"},
        "inbound_nodes": [{"args": [tensor("x")], "kwargs": {}}]});
    let says = "layer `y` of the class `Cast`: a cast of `float32` to `int8` is not supported";
    refused(
        "mlp/model.keras",
        &model(input("x", &json!({})), &[cast]),
        says,
    );
}

#[test]
fn of_ends_the_wrong_way_round_the_lower_one_wins() {
    let clip = json!({"module": "keras.src.ops.numpy", "class_name": "Clip",
        "config": {"name": "y", "x_min": 0.5, "x_max": -0.5}, "name": "y",
        "inbound_nodes": [{"args": [tensor("x")], "kwargs": {"x_min": 0.5, "x_max": -0.5}}]});
    let file = with_config("mlp/model.keras", &model(input("x", &json!({})), &[clip]));
    let file = KerasFile::new(&file.0, &Settings::default()).unwrap();
    let made = file.open().unwrap().infer().unwrap();
    assert!(made.iter().all(|&value| value == 0.5), "{made:?}");
}

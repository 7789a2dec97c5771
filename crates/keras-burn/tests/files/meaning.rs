//! Configurations that mean something other than they seem to: refused, and never computed as
//! something else.

use serde_json::{Value, json};

use crate::common::{read, refused, tensor, with_config};

const MLP: &str = "mlp/model.keras";

/// An input `x` of four numbers, with further settings.
fn input(more: &Value) -> Value {
    let mut config = json!({"name": "x", "batch_shape": [null, 4]});
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    json!({"class_name": "InputLayer", "config": config, "inbound_nodes": []})
}

/// A model of an input `x` and these layers, of which `y` is the output.
fn model(input: Value, layers: &[Value]) -> String {
    let layers: Vec<&Value> = [&input].into_iter().chain(layers).collect();
    let config = json!({"name": "m", "layers": layers,
        "input_layers": [["x", 0, 0]], "output_layers": [["y", 0, 0]]});
    json!({"class_name": "Functional", "config": config}).to_string()
}

/// A call of Keras 3 with `x`.
fn call_on_x() -> Value {
    json!([{"args": [tensor("x")], "kwargs": {}}])
}

#[test]
fn training_is_refused_in_keras_2_which_obeys_it() {
    let dropout = json!({"class_name": "Dropout", "config": {"name": "y", "trainable": true},
        "inbound_nodes": [[["x", 0, 0, {"training": true}]]]});
    let config = model(input(&json!({})), &[dropout]);
    let says = "layer `y`: its class `Dropout` is called with `training=True`";
    refused("variants/keras2_begun/model.keras", &config, says);
    // Keras 3 ignores it in a prediction.
    let dropout = json!({"class_name": "Dropout", "config": {"name": "y", "trainable": true},
        "inbound_nodes": [{"args": [tensor("x")], "kwargs": {"training": true}}]});
    let plain = with_config(MLP, &model(input(&json!({})), &[dropout]));
    read(&plain.0, true).unwrap();
}

#[test]
fn a_dictionary_with_other_names_is_refused() {
    let flatten = json!({"class_name": "Flatten", "config": {"name": "y", "trainable": true},
        "inbound_nodes": [{"args": [{"a": tensor("x")}], "kwargs": {}}]});
    let says = "layer `y`: its class `Flatten` is called with a dictionary";
    refused(MLP, &model(input(&json!({})), &[flatten]), says);
}

#[test]
fn custom_code_with_the_name_of_keras_own_is_refused() {
    let flatten = json!({"module": null, "class_name": "Flatten", "registered_name": "Flatten",
        "config": {"name": "y"}, "inbound_nodes": call_on_x()});
    let config = model(input(&json!({})), &[flatten]);
    let says = "layer `y` is of a custom class with the name of Keras's own `Flatten`";
    refused(MLP, &config, says);
    let own = json!({"module": "mine.models", "class_name": "Functional", "registered_name": "mine",
        "config": {"name": "m", "layers": []}});
    let says = "`m` is of a custom class `Functional`";
    refused(MLP, &own.to_string(), says);
    let function = json!({"module": "builtins", "class_name": "function", "config": "swish",
        "registered_name": "function"});
    let layer = json!({"class_name": "Activation",
        "config": {"name": "y", "trainable": true, "activation": function},
        "inbound_nodes": call_on_x()});
    let config = model(input(&json!({})), &[layer]);
    let says = "its `activation`: a function with Python code of its own is not supported";
    refused(MLP, &config, says);
}

#[test]
fn a_custom_layer_that_is_wrapped_twice_is_refused() {
    let custom = json!({"module": "mine", "class_name": "Dense", "registered_name": "mine>Dense",
        "config": {"name": "d", "units": 2}});
    let inner = json!({"class_name": "TimeDistributed", "config": {"name": "t", "layer": custom}});
    let outer = json!({"class_name": "TimeDistributed", "config":
        {"name": "y", "trainable": true, "layer": inner}, "inbound_nodes": call_on_x()});
    let says = "layer `y` wraps one of a custom class";
    refused(MLP, &model(input(&json!({})), &[outer]), says);
}

#[test]
fn a_result_that_would_wrap_around_is_refused() {
    let bytes = || input(&json!({"dtype": "uint8"}));
    let add = json!({"class_name": "Add", "config": {"name": "y", "trainable": true},
        "inbound_nodes": [{"args": [[tensor("x"), tensor("x")]], "kwargs": {}}]});
    let says = "layer `y` of the class `Add`: its result in the type `uint8` may wrap around";
    refused(MLP, &model(bytes(), &[add]), says);
    let times = |number: Value| {
        json!({"class_name": "Multiply", "config": {"name": "y"},
            "inbound_nodes": [{"args": [tensor("x"), number], "kwargs": {}}]})
    };
    let says = "layer `y` of the class `Multiply`: its result in the type `uint8`";
    refused(MLP, &model(bytes(), &[times(json!(3))]), says);
    let plain = with_config(MLP, &model(bytes(), &[times(json!(0.5))]));
    read(&plain.0, true).unwrap();
    let cast = json!({"class_name": "Cast", "config": {"name": "y", "dtype": "int8"},
        "inbound_nodes": call_on_x()});
    let says = "layer `y` of the class `Cast`: a cast of `float32` to `int8` is not supported";
    refused(MLP, &model(input(&json!({})), &[cast]), says);
}

#[test]
fn of_clip_bounds_in_the_wrong_order_the_lower_one_wins() {
    let clip = json!({"module": "keras.src.ops.numpy", "class_name": "Clip",
        "config": {"name": "y", "x_min": 0.5, "x_max": -0.5}, "name": "y",
        "inbound_nodes": [{"args": [tensor("x")], "kwargs": {"x_min": 0.5, "x_max": -0.5}}]});
    let file = with_config(MLP, &model(input(&json!({})), &[clip]));
    let outputs = read(&file.0, true).unwrap();
    let values = outputs[0].values();
    assert!(values.iter().all(|&value| value == 0.5), "{values:?}");
}

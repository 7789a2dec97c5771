//! Configurations that contradict themselves or the weights.

use rstest::rstest;
use serde_json::{Value, json};

use crate::common::{config_of, read, refused, tensor, with_config};

const MLP: &str = "mlp/model.keras";

#[test]
fn a_configuration_that_is_not_that_of_a_model_is_refused() {
    refused(MLP, "not json", "`config.json` is not JSON");
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    refused(
        MLP,
        &deep,
        "`config.json` is nested more than 128 levels deep",
    );
    refused(MLP, "{}", "no `class_name`");
    let other = json!({"class_name": "Mine", "config": {"layers": []}});
    refused(MLP, &other.to_string(), "the class `Mine`");
}

#[test]
fn a_byte_order_mark_changes_nothing() {
    let config = format!("\u{feff}{}", config_of(MLP));
    read(&with_config(MLP, &config).0, true).unwrap();
}

#[rstest]
#[case("TimeDistributed", "layer")]
#[case("Bidirectional", "layer")]
fn an_unsupported_class_is_named_where_it_is_wrapped(#[case] wrapper: &str, #[case] key: &str) {
    let inner = json!({"class_name": "Mine", "config": {"name": "mine"}});
    let twice = json!({"class_name": wrapper, "config": {"name": "inner", key: inner}});
    for wrapped in [inner.clone(), twice] {
        let layer = json!({"class_name": wrapper, "config": {"name": "outer", key: wrapped}});
        let config = json!({"name": "s", "layers": [layer]});
        let config = json!({"class_name": "Sequential", "config": config});
        let says = "layer `outer` wraps one of the class `Mine`, which is not supported";
        refused(MLP, &config.to_string(), says);
    }
}

#[test]
fn a_bidirectional_layer_that_is_not_recurrent_is_refused() {
    let inner = json!({"class_name": "Dense", "config": {"name": "d", "units": 4}});
    let layer = json!({"class_name": "Bidirectional", "config": {"name": "b", "layer": inner}});
    let config = json!({"class_name": "Sequential", "config": {"name": "s", "layers": [layer]}});
    let says = "its `layer` is of the class `Dense`, which is not a recurrent layer";
    refused(MLP, &config.to_string(), says);
}

#[test]
fn a_cycle_of_layers_is_refused() {
    let file = "resblock/model.keras";
    let mut config = config_of(file);
    let layers = config["config"]["layers"].as_array_mut().unwrap();
    let last = layers.last().unwrap()["config"]["name"].clone();
    // The first layer behind the input takes the output of the last one.
    let first = &mut layers[1]["inbound_nodes"][0]["args"][0]["config"]["keras_history"];
    *first = json!([last, 0, 0]);
    refused(
        file,
        &config.to_string(),
        "the calls of the layers form a cycle",
    );
}

/// The configuration of the mlp with a setting of its first Dense layer changed.
fn with_setting(key: &str, value: Value) -> String {
    let mut config = config_of(MLP);
    let layers = config["config"]["layers"].as_array_mut().unwrap();
    let dense = layers.iter_mut().find(|l| l["class_name"] == "Dense");
    dense.unwrap()["config"][key] = value;
    config.to_string()
}

#[rstest]
#[case("units", json!(7), "the configuration says [any, 7]")]
#[case("units", json!(-3), "its `units` must be a positive integer below 2^32, got -3")]
#[case("units", json!(1_u64 << 60), "its `units` must be a positive integer")]
#[case("activation", json!("mine"), "its `activation` is `mine`, which is not supported")]
#[case("use_bias", json!(false), "the file has 2 weights for this layer")]
fn a_wrong_setting_is_refused_with_its_layer(
    #[case] key: &str,
    #[case] value: Value,
    #[case] says: &str,
) {
    let config = with_setting(key, value);
    refused(MLP, &config, says);
    refused(MLP, &config, "layer `dense");
}

#[test]
fn a_layer_that_the_weights_do_not_have_is_named() {
    let more = json!({"class_name": "Dense", "config": {"name": "more", "units": 4}});
    let mut config = config_of(MLP);
    let layers = config["config"]["layers"].as_array_mut().unwrap();
    // Archives count the layers of a class, so that this one is the first Dense of the file.
    layers.insert(1, more.clone());
    let says = "layer `more`: the weight `kernel` has the shape";
    refused(MLP, &config.to_string(), says);
    let mut config = config_of(MLP);
    config["config"]["layers"]
        .as_array_mut()
        .unwrap()
        .push(more);
    let says = "layer `more`: the weight `kernel` of the shape [any, 4] is missing";
    refused(MLP, &config.to_string(), says);
}

#[test]
fn an_initial_state_of_another_shape_is_refused() {
    let file = "lstm/model.keras";
    let mut config = config_of(file);
    let layers = config["config"]["layers"].as_array_mut().unwrap();
    let lstm = layers
        .iter()
        .position(|l| l["class_name"] == "LSTM")
        .unwrap();
    let names: Vec<String> = layers
        .iter()
        .map(|l| l["config"]["name"].as_str().unwrap().to_owned())
        .collect();
    // The chain as a Functional model, its LSTM with an initial state.
    for i in 1..layers.len() {
        let kwargs = match i == lstm {
            true => json!({"initial_state": [tensor(&names[0]), tensor(&names[0])]}),
            false => json!({}),
        };
        let args = [tensor(&names[i - 1])];
        layers[i]["inbound_nodes"] = json!([{"args": args, "kwargs": kwargs}]);
    }
    config["class_name"] = json!("Functional");
    config["config"]["input_layers"] = json!([[names[0], 0, 0]]);
    config["config"]["output_layers"] = json!([[names[names.len() - 1], 0, 0]]);
    let says = format!("layer `{}`: its `initial_state` has the shape", names[lstm]);
    refused(file, &config.to_string(), &says);
    // Without the state it is the model of the fixture.
    let layers = config["config"]["layers"].as_array_mut().unwrap();
    layers[lstm]["inbound_nodes"][0]["kwargs"] = json!({});
    read(&with_config(file, &config.to_string()).0, true).unwrap();
}

#[test]
fn a_mask_for_softmax_is_refused() {
    let input = |name: &str| {
        json!({"class_name": "InputLayer", "config": {"name": name, "batch_shape": [null, 4]},
               "inbound_nodes": []})
    };
    let softmax = json!({"class_name": "Softmax", "config": {"name": "s", "trainable": true},
        "inbound_nodes": [{"args": [tensor("a")], "kwargs": {"mask": tensor("b")}}]});
    let config = json!({"class_name": "Functional", "config": {"name": "m",
        "layers": [input("a"), input("b"), softmax],
        "input_layers": [["a", 0, 0], ["b", 0, 0]], "output_layers": [["s", 0, 0]]}});
    let says = "layer `s`: its class `Softmax` is called with a tensor as `mask`";
    refused(MLP, &config.to_string(), says);
}

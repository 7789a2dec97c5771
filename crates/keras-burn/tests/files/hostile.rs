//! Configurations whose numbers are made to exhaust the machine: each is a model that runs, or an
//! error.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use keras_burn::{Model, Plan};
use rstest::rstest;
use serde_json::{Value, json};

use crate::common::{Random, config_of, device, inputs, read, refused, shapes, with_config};

/// Largest cost of a model that is run.
const SMALL: usize = 1 << 18;

/// Plans and builds a model for a batch of one, and runs it if that is cheap.
fn build(path: &Path) -> Result<(), String> {
    let plan = Plan::read(path).map_err(|e| e.to_string())?;
    let cost = plan.cost(&shapes(&plan, 1)).map_err(|e| e.to_string())?;
    let model = Model::read(path, &device()).map_err(|e| e.to_string())?;
    if cost < SMALL {
        let outputs = model.predict(&inputs(&plan, 1));
        outputs.map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// The numbers of a configuration, at any depth.
fn numbers<'a>(value: &'a mut Value, found: &mut Vec<&'a mut Value>) {
    match value {
        Value::Number(_) => found.push(value),
        Value::Array(all) => all.iter_mut().for_each(|v| numbers(v, found)),
        Value::Object(all) => all.values_mut().for_each(|v| numbers(v, found)),
        _ => {}
    }
}

#[test]
fn no_numbers_in_a_configuration_make_a_model_panic_or_hang() {
    const HOSTILE: [i64; 14] = [
        0,
        1,
        2,
        3,
        7,
        -1,
        -2,
        17,
        1_000,
        65_537,
        1 << 20,
        1 << 31,
        1 << 40,
        i64::MAX,
    ];
    let mut random = Random(2);
    let (mut ran, mut refused) = (0, 0);
    for name in [
        "lenet",
        "gru_bidir",
        "transformer",
        "variants/conv",
        "variants/images",
        "variants/sequences",
        "variants/merges",
        "variants/operators",
        "variants/shared_nested",
        "variants/cells_1d",
        "variants/windows",
        "variants/states",
        "variants/attention_scores",
    ] {
        let file = format!("{name}/model.keras");
        let whole = config_of(&file);
        for round in 0..40 {
            let mut config = whole.clone();
            let mut places = Vec::new();
            numbers(&mut config, &mut places);
            for _ in 0..=random.below(2) {
                let at = random.below(places.len());
                *places[at] = json!(HOSTILE[random.below(HOSTILE.len())]);
            }
            let changed = with_config(&file, &config.to_string());
            let result = catch_unwind(AssertUnwindSafe(|| build(&changed.0)));
            match result {
                Ok(Ok(())) => ran += 1,
                Ok(Err(_)) => refused += 1,
                Err(_) => panic!("{file}, round {round}: it panicked on {config}"),
            }
        }
    }
    assert!(
        ran > 50 && refused > 50,
        "{ran} ran, {refused} were refused"
    );
}

#[rstest]
#[case::padding(
    json!([null, 28, 28, 1]), "ZeroPadding2D", json!({"padding": 100_000}),
    "more than 268435456 elements"
)]
#[case::repetition(
    json!([null, 28, 28, 1]), "UpSampling2D", json!({"size": 30_000}),
    "more than 268435456 elements"
)]
#[case::sequence(
    json!([null, 9]), "RepeatVector", json!({"n": 1_000_000_000}),
    "more than 268435456 elements"
)]
#[case::window(
    json!([null, 28, 28, 1]), "MaxPooling2D", json!({"pool_size": 29}),
    "spans 29 cells, and its input has 28"
)]
#[case::stride(
    json!([null, 28, 28, 1]), "MaxPooling2D", json!({"pool_size": 2, "strides": 0}),
    "its `strides` must be one or two positive integers below 2^20, got 0"
)]
#[case::nothing(
    json!([null, 4, 4, 1]), "Cropping2D", json!({"cropping": 2}),
    "it crops 4 of 4 cells"
)]
#[case::steps(
    json!([null, 1_000_000, 1]), "LSTM", json!({"units": 1}),
    "calls and recurrent steps"
)]
#[case::cells(
    json!([null, 1000, 1000, 1]), "AveragePooling2D",
    json!({"pool_size": 999, "strides": 1, "padding": "same"}),
    "pooling windows of the model read more than"
)]
#[case::dilation(
    json!([null, 28, 28, 1]), "Conv2D",
    json!({"filters": 1, "kernel_size": 3, "dilation_rate": 100_000, "padding": "same"}),
    "more than 268435456 elements"
)]
fn a_layer_that_would_exceed_a_bound_is_named(
    #[case] shape: Value,
    #[case] class: &str,
    #[case] mut settings: Value,
    #[case] says: &str,
) {
    settings["name"] = json!("big");
    let input = json!({"class_name": "InputLayer", "config": {"name": "in", "batch_shape": shape}});
    let layer = json!({"class_name": class, "config": settings});
    let config = json!({"name": "m", "layers": [input, layer]});
    let config = json!({"class_name": "Sequential", "config": config});
    refused("mlp/model.keras", &config.to_string(), says);
    refused("mlp/model.keras", &config.to_string(), "layer `big`");
}

#[test]
fn an_input_without_elements_is_refused() {
    let input =
        json!({"class_name": "InputLayer", "config": {"name": "in", "batch_shape": [null, 0, 4]}});
    let layer = json!({"class_name": "Flatten", "config": {"name": "f"}});
    let config = json!({"name": "m", "layers": [input, layer]});
    let config = json!({"class_name": "Sequential", "config": config});
    let says = "input `in` is given no values: its shape is [8, 0, 4]";
    refused("mlp/model.keras", &config.to_string(), says);
}

#[test]
fn a_configuration_that_would_take_much_memory_is_refused() {
    let zeros = format!("[{}0]", "0,".repeat(1_000_000));
    refused("mlp/model.keras", &zeros, "too many values");
    let layer = json!({"class_name": "Flatten", "config": {"name": "f"}});
    let layers = vec![layer; 20_001];
    let config = json!({"class_name": "Sequential", "config": {"name": "s", "layers": layers}});
    refused(
        "mlp/model.keras",
        &config.to_string(),
        "more than 20000 layers",
    );
}

#[rstest]
#[case(json!("complex64"))]
#[case(json!({"class_name": "DTypePolicy", "config": {"name": "float8"}}))]
fn an_unknown_type_is_refused(#[case] dtype: Value) {
    let mut config = config_of("mlp/model.keras");
    config["config"]["layers"][1]["config"]["dtype"] = dtype;
    refused("mlp/model.keras", &config.to_string(), "its `dtype` is `");
}

#[test]
fn a_deep_chain_of_layers_does_not_overflow_the_stack() {
    let input =
        json!({"class_name": "InputLayer", "config": {"name": "in", "batch_shape": [null, 2]}});
    let layer = |i: usize| json!({"class_name": "Dropout", "config": {"name": format!("d{i}")}});
    let layers: Vec<Value> = [input].into_iter().chain((0..10_000).map(layer)).collect();
    let config = json!({"class_name": "Sequential", "config": {"name": "s", "layers": layers}});
    let file = with_config("mlp/model.keras", &config.to_string());
    assert!(read(&file.0, true).is_ok());
}

//! Configurations whose numbers are made to hurt: each ends in a model that runs or in an error.

use super::*;

/// The numbers of a configuration, wherever they are.
fn numbers<'a>(value: &'a mut Json, found: &mut Vec<&'a mut Json>) {
    match value {
        Json::Number(_) => found.push(value),
        Json::Array(all) => all.iter_mut().for_each(|v| numbers(v, found)),
        Json::Object(all) => all.values_mut().for_each(|v| numbers(v, found)),
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
    let mut random = Random::new(2);
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
            for _ in 0..=random.index(2) {
                let at = random.index(places.len());
                *places[at] = json!(HOSTILE[random.index(HOSTILE.len())]);
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

#[test]
fn what_would_not_fit_is_refused_with_its_layer() {
    let model = |shape: Json, class: &str, mut own: Json| {
        own["name"] = json!("big");
        let input =
            json!({"class_name": "InputLayer", "config": {"name": "in", "batch_shape": shape}});
        let layer = json!({"class_name": class, "config": own});
        json!({"class_name": "Sequential", "config": {"name": "m", "layers": [input, layer]}})
    };
    let image = || json!([null, 28, 28, 1]);
    for (shape, class, own, says) in [
        (
            image(),
            "ZeroPadding2D",
            json!({"padding": 100_000}),
            "more than 268435456 elements",
        ),
        (
            image(),
            "UpSampling2D",
            json!({"size": 30_000}),
            "more than 268435456 elements",
        ),
        (
            json!([null, 9]),
            "RepeatVector",
            json!({"n": 1_000_000_000}),
            "more than 268435456",
        ),
        (
            image(),
            "MaxPooling2D",
            json!({"pool_size": 29}),
            "spans 29 cells, and its input has 28",
        ),
        (
            image(),
            "MaxPooling2D",
            json!({"pool_size": 2, "strides": 0}),
            "its `strides` is not 2",
        ),
        (
            json!([null, 0, 4]),
            "Flatten",
            json!({}),
            "without elements",
        ),
        (
            json!([null, 1_000_000, 1]),
            "LSTM",
            json!({"units": 1}),
            "recurrent steps",
        ),
        (
            json!([null, 1000, 1000, 1]),
            "AveragePooling2D",
            json!({"pool_size": 999, "strides": 1, "padding": "same"}),
            "pooling looks at more than",
        ),
        (
            image(),
            "Conv2D",
            json!({"filters": 1, "kernel_size": 3, "dilation_rate": 100_000, "padding": "same"}),
            "more than 268435456 elements",
        ),
    ] {
        let config = model(shape, class, own);
        let changed = with_config("mlp/model.keras", &config.to_string());
        let error = read(&changed.0, true).unwrap_err();
        assert!(
            error.contains(says) && error.contains("layer `"),
            "{class}: {error}"
        );
    }
}

#[test]
fn a_configuration_that_takes_much_memory_is_refused() {
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

#[test]
fn a_type_that_is_not_known_is_refused() {
    for dtype in [
        json!("complex64"),
        json!({"class_name": "DTypePolicy", "config": {"name": "float8"}}),
    ] {
        let mut config = config_of("mlp/model.keras");
        config["config"]["layers"][1]["config"]["dtype"] = dtype;
        refused("mlp/model.keras", &config.to_string(), "its `dtype` of `");
    }
}

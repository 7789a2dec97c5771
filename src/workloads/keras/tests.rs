//! Files that are damaged, or say what cannot be: an error with the place, never a panic.

use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::*;

mod hostile;
mod meaning;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/keras")
        .join(name)
}

/// A file that goes when it is dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let name = format!("afterdrop-keras-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Loads a file, and runs it if asked to.
fn read(path: &Path, runs: bool) -> Result<(), String> {
    let file = KerasFile::new(path, &Settings::default()).map_err(|e| e.to_string())?;
    let mut model = file.open().map_err(|e| e.to_string())?;
    if runs {
        model.infer().map_err(|e| e.to_string())?;
    }
    Ok(())
}

#[test]
fn no_damage_makes_a_reader_panic_or_hang() {
    let mut random = Random::new(1);
    let mut refused = 0;
    for file in [
        "mlp/model.h5",
        "lstm/model.keras",
        "gru_bidir/model.h5",
        "resblock/model.keras",
        "h5extra/mlp_gzip.h5",
        "variants/shared_nested/model.keras",
        "variants/keras2_attention/model.h5",
    ] {
        let whole = std::fs::read(fixture(file)).unwrap();
        for round in 0..400 {
            let mut bytes = whole.clone();
            for _ in 0..=random.index(8) {
                // The first part holds what says where everything is.
                let reach = if random.index(2) == 0 {
                    bytes.len()
                } else {
                    bytes.len().min(4096)
                };
                let at = random.index(reach);
                bytes[at] = random.index(256) as u8;
            }
            if random.index(4) == 0 {
                bytes.truncate(random.index(whole.len()));
            }
            let damaged = Temporary::new("damaged", &bytes);
            let begun = Instant::now();
            let result = catch_unwind(AssertUnwindSafe(|| read(&damaged.0, round % 8 == 0)));
            let result = result.unwrap_or_else(|_| panic!("{file}, round {round}: it panicked"));
            assert!(
                begun.elapsed() < Duration::from_secs(2),
                "{file}, round {round}"
            );
            refused += u32::from(result.is_err());
        }
    }
    assert!(
        refused > 500,
        "only {refused} were refused: the damage is too small"
    );
}

/// A `.keras` archive with another configuration, its other members as they were.
fn with_config(file: &str, config: &str) -> Temporary {
    with_members(
        file,
        config,
        &["config.json", "metadata.json", "model.weights.h5"],
    )
}

fn with_members(file: &str, config: &str, members: &[&str]) -> Temporary {
    let archive = std::fs::File::open(fixture(file)).unwrap();
    let mut archive = zip::ZipArchive::new(archive).unwrap();
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut made = zip::ZipWriter::new(&mut bytes);
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for &name in members {
        let mut member = Vec::new();
        archive
            .by_name(name)
            .unwrap()
            .read_to_end(&mut member)
            .unwrap();
        made.start_file(name, stored).unwrap();
        let member = if name == "config.json" {
            config.as_bytes()
        } else {
            &member
        };
        made.write_all(member).unwrap();
    }
    made.finish().unwrap();
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    Temporary::new(&format!("config-{n}.keras"), bytes.get_ref())
}

fn config_of(file: &str) -> Json {
    let archive = std::fs::File::open(fixture(file)).unwrap();
    let mut archive = zip::ZipArchive::new(archive).unwrap();
    let mut text = String::new();
    archive
        .by_name("config.json")
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    serde_json::from_str(&text).unwrap()
}

#[track_caller]
fn refused(file: &str, config: &str, says: &str) {
    let changed = with_config(file, config);
    let error = read(&changed.0, true).unwrap_err();
    assert!(error.contains(says), "{error}");
}

#[test]
fn a_configuration_that_cannot_be_is_refused() {
    refused("mlp/model.keras", "not json", "`config.json` is not JSON");
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    refused("mlp/model.keras", &deep, "`config.json` is nested too deep");
    refused("mlp/model.keras", "{}", "no `class_name`");
    let other = json!({"class_name": "Mine", "config": {"layers": []}});
    refused("mlp/model.keras", &other.to_string(), "the class `Mine`");
}

#[test]
fn a_mark_in_front_of_a_configuration_changes_nothing() {
    let config = format!("\u{feff}{}", config_of("mlp/model.keras"));
    read(&with_config("mlp/model.keras", &config).0, true).unwrap();
}

#[test]
fn a_file_behind_a_user_block_is_called_that() {
    let whole = std::fs::read(fixture("mlp/model.h5")).unwrap();
    let behind = [&[0; 1024][..], &whole].concat();
    let error = read(&Temporary::new("behind.h5", &behind).0, false).unwrap_err();
    assert!(error.contains("a user block in front"), "{error}");
    let error = read(&Temporary::new("empty.h5", &[]).0, false).unwrap_err();
    assert!(error.contains("is empty"), "{error}");
}

#[test]
fn a_file_is_known_by_its_ending() {
    assert!(is_file("a.h5") && is_file("b/A.HDF5") && is_file("c.Keras"));
    assert!(!is_file("c.zip") && !is_file("h5"));
    let text = fixture("README.md");
    let error = no_file(text.to_str().unwrap()).unwrap();
    assert!(error.to_string().contains("no Keras file"), "{error}");
    let folder = fixture("mlp");
    let error = no_file(folder.to_str().unwrap()).unwrap();
    assert!(error.to_string().contains("SavedModel"), "{error}");
    assert!(no_file("mnlist").is_none());
}

#[test]
fn an_archive_without_a_member_is_refused() {
    let members = ["config.json", "metadata.json", "model.weights.h5"];
    for missing in members {
        let kept: Vec<&str> = members.into_iter().filter(|m| *m != missing).collect();
        let config = config_of("mlp/model.keras").to_string();
        let archive = with_members("mlp/model.keras", &config, &kept);
        let error = read(&archive.0, false).unwrap_err();
        let says = format!("the member `{missing}` cannot be read");
        assert!(error.contains(&says), "{error}");
    }
}

#[test]
fn what_is_wrapped_is_named() {
    let inner = json!({"class_name": "Mine", "config": {"name": "mine"}});
    let layer = json!({"class_name": "TimeDistributed", "config": {"name": "td", "layer": inner}});
    let config = json!({"class_name": "Sequential", "config": {"name": "s", "layers": [layer]}});
    let says = "layer `td` wraps one of the class `Mine`";
    refused("mlp/model.keras", &config.to_string(), says);
}

#[test]
fn the_output_that_differs_is_named() {
    let array = |values: &[f32]| Array {
        values: values.to_vec(),
        shape: vec![1, values.len()],
    };
    let outputs = [array(&[1.0]), array(&[2.0, 3.0])];
    assert!(compare_all(&outputs, &outputs).is_ok());
    assert!(compare_all(&outputs, &[array(&[1.0, 2.0, 3.0])]).is_ok());
    let error = compare_all(&outputs, &[array(&[1.0]), array(&[2.0, 4.0])]).unwrap_err();
    assert!(
        error.starts_with("output 1 of 2: the output is 3"),
        "{error}"
    );
}

#[test]
fn layers_in_a_circle_are_refused() {
    let mut config = config_of("resblock/model.keras");
    let layers = config["config"]["layers"].as_array_mut().unwrap();
    let last = layers.last().unwrap()["config"]["name"].clone();
    // The first layer behind the input takes what the last one gives.
    let first = &mut layers[1]["inbound_nodes"][0]["args"][0]["config"]["keras_history"];
    *first = json!([last, 0, 0]);
    refused(
        "resblock/model.keras",
        &config.to_string(),
        "call each other in a circle",
    );
}

#[test]
fn a_layer_with_other_numbers_is_named() {
    let change = |index: usize, key: &str, value: Json| {
        let mut config = config_of("mlp/model.keras");
        let layers = config["config"]["layers"].as_array_mut().unwrap();
        let dense: Vec<usize> = (0..layers.len())
            .filter(|&i| layers[i]["class_name"] == "Dense")
            .collect();
        layers[dense[index]]["config"][key] = value;
        config.to_string()
    };
    let file = "mlp/model.keras";
    refused(
        file,
        &change(0, "units", json!(7)),
        "the configuration says [any, 7]",
    );
    refused(
        file,
        &change(0, "units", json!(-3)),
        "its `units` is no number of things: -3",
    );
    refused(
        file,
        &change(0, "units", json!(1_u64 << 60)),
        "its `units` is no number of things",
    );
    refused(
        file,
        &change(0, "activation", json!("mine")),
        "`activation` of `mine` is not supported",
    );
    refused(
        file,
        &change(0, "use_bias", json!(false)),
        "the file has 2 weights for this layer",
    );
    let mut config = config_of(file);
    let layers = config["config"]["layers"].as_array_mut().unwrap();
    layers.insert(
        1,
        json!({"class_name": "Dense", "config": {"name": "more", "units": 4}}),
    );
    // The classes are counted, so that the first of the file's weights is taken for this one.
    refused(
        file,
        &config.to_string(),
        "layer `more`: the weight `kernel` has the shape",
    );
}

#[test]
fn a_weight_that_is_missing_is_named() {
    let mut config = config_of("mlp/model.keras");
    let layers = config["config"]["layers"].as_array_mut().unwrap();
    layers.push(json!({"class_name": "Dense", "config": {"name": "more", "units": 4}}));
    let says = "layer `more`: the weight `kernel` of the shape [any, 4] is missing";
    refused("mlp/model.keras", &config.to_string(), says);
}

#[test]
fn a_compressed_member_is_refused_whatever_it_would_become() {
    // The header of a member that says it is deflated; nothing of it is ever unpacked.
    let mut bytes = std::fs::read(fixture("mlp/model.keras")).unwrap();
    let headers: Vec<usize> = (0..bytes.len() - 4)
        .filter(|&i| bytes[i..].starts_with(b"PK\x03\x04") || bytes[i..].starts_with(b"PK\x01\x02"))
        .collect();
    for at in headers {
        let method = if bytes[at + 2] == 3 { at + 8 } else { at + 10 };
        bytes[method] = 8;
    }
    let bomb = Temporary::new("bomb.keras", &bytes);
    let error = read(&bomb.0, false).unwrap_err();
    assert!(error.contains("is compressed"), "{error}");
}

/// The first output of a layer, as an argument of a call.
fn tensor(layer: &str) -> Json {
    json!({"class_name": "__keras_tensor__",
           "config": {"shape": [null, 4], "keras_history": [layer, 0, 0]}})
}

#[test]
fn a_state_of_another_shape_is_refused() {
    let mut config = config_of("lstm/model.keras");
    let layers = config["config"]["layers"].as_array().unwrap();
    let names: Vec<&str> = layers
        .iter()
        .map(|l| l["class_name"].as_str().unwrap())
        .collect();
    let lstm = names.iter().position(|name| *name == "LSTM").unwrap();
    let name = layers[lstm]["config"]["name"].as_str().unwrap().to_owned();
    let functional = |layer: &mut Json, args: Json, kwargs: Json| {
        layer["inbound_nodes"] = json!([{"args": args, "kwargs": kwargs}]);
    };
    // The chain as a Functional model, its LSTM with a state of its own.
    let layers = config["config"]["layers"].as_array_mut().unwrap();
    let own: Vec<String> = layers
        .iter()
        .map(|l| l["config"]["name"].as_str().unwrap().to_owned())
        .collect();
    for i in 1..layers.len() {
        let kwargs = match i == lstm {
            true => json!({"initial_state": [tensor(&own[0]), tensor(&own[0])]}),
            false => json!({}),
        };
        functional(&mut layers[i], json!([tensor(&own[i - 1])]), kwargs);
    }
    config["class_name"] = json!("Functional");
    config["config"]["input_layers"] = json!([[own[0], 0, 0]]);
    config["config"]["output_layers"] = json!([[own[own.len() - 1], 0, 0]]);
    let says = format!("layer `{name}`: its `initial_state` has the shape");
    refused("lstm/model.keras", &config.to_string(), &says);
    // The same without the state is the fixture's own model.
    let layers = config["config"]["layers"].as_array_mut().unwrap();
    layers[lstm]["inbound_nodes"][0]["kwargs"] = json!({});
    let plain = with_config("lstm/model.keras", &config.to_string());
    read(&plain.0, true).unwrap();
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
    refused("mlp/model.keras", &config.to_string(), says);
}

#[test]
fn weights_of_bfloat16_are_read_as_such() {
    for file in ["bfloat16/model.h5", "bfloat16/model.keras"] {
        let settings = Settings {
            inputs: vec![fixture("bfloat16/input.npy")],
            ..Settings::default()
        };
        let workload = KerasFile::new(&fixture(file), &settings).unwrap();
        let output = workload.open().unwrap().infer().unwrap();
        let expected = npy::read_all(&fixture("bfloat16/expected.npy")).unwrap();
        let expected = &expected[0].1.values;
        assert_eq!(output.len(), expected.len());
        for (o, e) in output.iter().zip(expected) {
            // Keras rounds what it computes to eight bits, too.
            assert!((o - e).abs() < 0.02, "{file}: {output:?} {expected:?}");
        }
    }
}

#[test]
fn an_input_that_is_not_the_models_is_refused_by_its_name() {
    let sizes = Some(vec![Some(4), None]);
    let shape = graph::InputShape {
        name: "title".into(),
        sizes,
        tokens: None,
        dtype: "float32".into(),
    };
    let array = |shape: &[usize]| Array {
        values: vec![0.0; shape.iter().product()],
        shape: shape.to_vec(),
    };
    assert!(shape.takes(array(&[3, 4, 9])).is_ok());
    for (wrong, says) in [
        (&[3, 5, 9][..], "the input `title` is [any, 4, any]"),
        (&[3, 4][..], "has the shape [3, 4]"),
        (&[0, 4, 9][..], "is given no values"),
        (&[][..], "a single number"),
    ] {
        let error = shape.takes(array(wrong)).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn an_output_of_another_shape_is_found() {
    let expected = |shape: &[usize]| {
        [Array {
            values: Vec::new(),
            shape: shape.to_vec(),
        }]
    };
    let output = expected(&[5, 3]);
    assert!(compare_shapes(&output, &expected(&[5, 3])).is_ok());
    assert!(compare_shapes(&output, &expected(&[15])).is_ok());
    let error = compare_shapes(&output, &expected(&[3, 5])).unwrap_err();
    assert!(error.contains("[5, 3], and [3, 5] is expected"), "{error}");
}

#[test]
fn an_output_is_compared_with_care() {
    assert!(compare(&[1.0], &[f32::INFINITY]).is_err());
    assert!(compare(&[f32::INFINITY], &[f32::INFINITY]).is_ok());
    assert!(compare(&[1.0, f32::NAN], &[1.000_05, f32::NAN]).is_ok());
    assert!(compare(&[f32::INFINITY], &[f32::INFINITY]).is_ok());
    assert!(compare(&[1.0], &[1.001]).is_err());
    assert!(compare(&[f32::NAN], &[1.0]).is_err());
    assert!(compare(&[1.0], &[1.0, 2.0]).is_err());
}

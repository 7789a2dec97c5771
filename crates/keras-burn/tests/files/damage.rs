//! Files that are damaged.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rstest::rstest;

use crate::common::{MEMBERS, Random, Temporary, config_of, fixture, read, with_members};

#[rstest]
fn no_damage_makes_the_reader_panic_or_hang(
    #[values(
        "mlp/model.h5",
        "lstm/model.keras",
        "gru_bidir/model.h5",
        "resblock/model.keras",
        "h5extra/mlp_gzip.h5",
        "variants/shared_nested/model.keras",
        "variants/keras2_attention/model.h5"
    )]
    file: &str,
) {
    let mut random = Random(1);
    let mut refused = 0;
    let whole = std::fs::read(fixture(file)).unwrap();
    for round in 0..400 {
        let mut bytes = whole.clone();
        for _ in 0..=random.below(8) {
            // The first part has the addresses of everything else.
            let end = match random.below(2) {
                0 => bytes.len(),
                _ => bytes.len().min(4096),
            };
            bytes[random.below(end)] = random.below(256) as u8;
        }
        if random.below(4) == 0 {
            bytes.truncate(random.below(whole.len()));
        }
        let damaged = Temporary::new("damaged", &bytes);
        let begun = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| read(&damaged.0, round % 8 == 0)));
        let result = result.unwrap_or_else(|_| panic!("round {round}: it panicked"));
        assert!(begun.elapsed() < Duration::from_secs(4), "round {round}");
        refused += u32::from(result.is_err());
    }
    assert!(
        refused > 70,
        "only {refused} were refused: the damage is too small"
    );
}

#[rstest]
#[case("damaged/empty.h5", "is empty")]
#[case("damaged/not_hdf5.h5", "is neither an HDF5 file nor a .keras archive")]
#[case("damaged/truncated_100.h5", "is truncated: it has 100 bytes of 119720")]
#[case(
    "damaged/truncated_half.h5",
    "is truncated: it has 59860 bytes of 119720"
)]
#[case("damaged/truncated.keras", "the zip archive is damaged")]
#[case("damaged/no_config.keras", "the member `config.json` cannot be read")]
#[case(
    "damaged/no_weights.keras",
    "the member `model.weights.h5` cannot be read"
)]
#[case(
    "damaged/wrong_shape.keras",
    "layer `dense`: the weight `kernel` has the shape [64, 160], and the configuration says [any, 150]"
)]
#[case("unsupported/lambda.h5", "layer `lambda` is of the class `Lambda`")]
#[case("unsupported/lambda.keras", "supported are: Activation, Add")]
#[case("unsupported/custom.keras", "layer `scale` is of the class `Scale`")]
#[case("nowhere.h5", "cannot read the model")]
#[case("mlp", "is not a regular file")]
fn what_is_wrong_is_said_in_one_line(#[case] file: &str, #[case] says: &str) {
    let error = read(&fixture(file), false).unwrap_err();
    assert!(error.contains(says) && error.contains(file), "{error}");
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn weights_that_are_not_numbers_predict_none() {
    let outputs = read(&fixture("damaged/nan_weight.keras"), true).unwrap();
    assert!(outputs[0].values().iter().any(|value| value.is_nan()));
}

#[test]
fn a_file_with_a_user_block_is_recognised() {
    let whole = std::fs::read(fixture("mlp/model.h5")).unwrap();
    let behind = [&[0; 1024][..], &whole].concat();
    let error = read(&Temporary::new("h5", &behind).0, false).unwrap_err();
    assert!(error.contains("a user block before its data"), "{error}");
}

#[test]
fn a_weight_without_values_is_refused() {
    // As the file states its shape.
    let shape = |inputs: u64| [inputs.to_le_bytes(), 160_u64.to_le_bytes()].concat();
    let mut bytes = std::fs::read(fixture("mlp/model.h5")).unwrap();
    let stated: Vec<usize> = (0..bytes.len())
        .filter(|&i| bytes[i..].starts_with(&shape(64)))
        .collect();
    assert!(!stated.is_empty());
    for at in stated {
        bytes[at..at + 16].copy_from_slice(&shape(0));
    }
    let error = read(&Temporary::new("h5", &bytes).0, false).unwrap_err();
    let says = "layer `dense`: the weight `kernel` has no values: its shape is [0, 160]";
    assert!(error.contains(says), "{error}");
}

#[test]
fn an_archive_without_a_member_is_refused() {
    for missing in MEMBERS {
        let kept: Vec<&str> = MEMBERS.into_iter().filter(|m| *m != missing).collect();
        let config = config_of("mlp/model.keras").to_string();
        let archive = with_members("mlp/model.keras", &config, &kept);
        let error = read(&archive.0, false).unwrap_err();
        let says = format!("the member `{missing}` cannot be read");
        assert!(error.contains(&says), "{error}");
    }
}

#[test]
fn a_compressed_member_is_refused_however_large_it_would_become() {
    // Headers that say that the members are deflated; nothing of them is decompressed.
    let mut bytes = std::fs::read(fixture("mlp/model.keras")).unwrap();
    let headers: Vec<usize> = (0..bytes.len() - 4)
        .filter(|&i| bytes[i..].starts_with(b"PK\x03\x04") || bytes[i..].starts_with(b"PK\x01\x02"))
        .collect();
    for at in headers {
        let method = if bytes[at + 2] == 3 { at + 8 } else { at + 10 };
        bytes[method] = 8;
    }
    let error = read(&Temporary::new("keras", &bytes).0, false).unwrap_err();
    assert!(error.contains("is compressed"), "{error}");
}

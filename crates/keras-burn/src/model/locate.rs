//! Where a file has the weights of each layer.

use std::collections::HashMap;

use hdf5_pure::Group;

use crate::file::{Container, Format, names};
use crate::layers::Folder;
use crate::plan::{Does, LayerNode, ModelPlan};

/// The weights of a layer.
pub(super) struct Located {
    /// The name of the layer, after those of the models that it is in.
    pub(super) layer: String,
    /// The paths of the datasets, in the order in which the layer takes them.
    pub(super) paths: Vec<String>,
}

/// The weights of each layer and operation of a model, in their order, those of nested models in
/// their place.
///
/// # Errors
/// If the file has no weights, or names them in a way that is not known.
pub(super) fn weights(container: &Container, model: &ModelPlan) -> Result<Vec<Located>, String> {
    match container.format {
        Format::Archive => archive(&container.weights, model),
        Format::Legacy => legacy(&container.weights, model),
    }
}

/// A layer of an archive.
struct ArchiveLayer {
    name: String,
    /// Its folders, and the paths of the variables in each.
    parts: Vec<(Folder, Vec<String>)>,
}

/// Keras writes the weights of a layer or model that is in several models where it finds it first,
/// and none in its other places (keras/src/saving/saving_lib.py, `visited_saveables`).
fn archive(file: &hdf5_pure::File, model: &ModelPlan) -> Result<Vec<Located>, String> {
    let mut layers = Vec::new();
    archive_layers(file, model, "", "", &mut layers)?;
    let parts = layers.iter().flat_map(|layer| &layer.parts);
    let stored = parts.filter(|(_, paths)| !paths.is_empty());
    let stored = stored.map(|(folder, paths)| (folder.owner.clone(), paths.clone()));
    let stored: HashMap<String, Vec<String>> = stored.collect();
    let located = layers.into_iter().map(|layer| {
        let paths = layer.parts.into_iter().flat_map(|(folder, paths)| {
            let elsewhere = match folder.is_shared && paths.is_empty() {
                true => stored.get(&folder.owner).cloned(),
                false => None,
            };
            elsewhere.unwrap_or(paths)
        });
        Located {
            layer: layer.name,
            paths: paths.collect(),
        }
    });
    Ok(located.collect())
}

/// Lists `layers/<class>_<n>/…` below `folder`, where `n` counts the layers of a class in their
/// order. `prefix` is the names of the models around.
fn archive_layers(
    file: &hdf5_pure::File,
    model: &ModelPlan,
    folder: &str,
    prefix: &str,
    layers: &mut Vec<ArchiveLayer>,
) -> Result<(), String> {
    let mut counts = HashMap::<String, usize>::new();
    for layer in &model.layers {
        let class = snake_case(&layer.class);
        let n = counts.entry(class.clone()).or_default();
        let path = match *n {
            0 => format!("{folder}layers/{class}"),
            n => format!("{folder}layers/{class}_{n}"),
        };
        *n += 1;
        let name = format!("{prefix}{}", layer.name);
        let (model, folder) = match &layer.does {
            Does::Model(model) => (model, format!("{path}/")),
            Does::TimeDistributed(model) => (model, format!("{path}/layer/")),
            Does::Operations(_) => {
                let parts = Vec::new();
                layers.push(ArchiveLayer { name, parts });
                continue;
            }
            Does::Layer(planned) => {
                let parts = planned.folders().into_iter();
                let parts = parts.map(|part| {
                    let paths = variables(file, &path, &part.path)?;
                    Ok((part, paths))
                });
                let parts = parts.collect::<Result<_, String>>()?;
                layers.push(ArchiveLayer { name, parts });
                continue;
            }
        };
        archive_layers(file, model, &folder, &format!("{name}/"), layers)?;
    }
    Ok(())
}

/// The paths of the variables `0`, `1` and so on of a part of a layer; none if it has no folder.
fn variables(file: &hdf5_pure::File, layer: &str, part: &str) -> Result<Vec<String>, String> {
    // Keras 2 keeps a sub-layer under the private name of its attribute: `/_query_dense`.
    let private = part.rsplit_once('/');
    let private = private.map(|(parents, name)| format!("{layer}{parents}/_{name}/vars"));
    let folders = [Some(format!("{layer}{part}/vars")), private];
    let found = folders
        .into_iter()
        .flatten()
        .find_map(|folder| file.group(&folder).ok().map(|group| (folder, group)));
    let Some((folder, group)) = found else {
        return Ok(Vec::new());
    };
    let names = group.datasets();
    let names = names.map_err(|e| format!("the group `{folder}` cannot be read: {e}"))?;
    let paths = (0..names.len()).map(|n| match names.contains(&n.to_string()) {
        true => Ok(format!("{folder}/{n}")),
        false => Err(format!("the group `{folder}` lacks the variable {n}")),
    });
    paths.collect()
}

/// Lists `model_weights/<layer>/…`, in the order of each layer's attribute `weight_names`.
fn legacy(file: &hdf5_pure::File, model: &ModelPlan) -> Result<Vec<Located>, String> {
    let group = file.group("model_weights");
    let group =
        group.map_err(|_| "has no group `model_weights`: the weights are missing".to_owned())?;
    let mut located = Vec::new();
    for layer in &model.layers {
        let paths = legacy_layer(&group, &layer.name)?;
        match &layer.does {
            Does::Model(model) | Does::TimeDistributed(model) => {
                split(model, &layer.name, paths, &mut located)?;
            }
            Does::Layer(_) | Does::Operations(_) => located.push(Located {
                layer: layer.name.clone(),
                paths,
            }),
        }
    }
    Ok(located)
}

fn legacy_layer(weights: &Group, layer: &str) -> Result<Vec<String>, String> {
    let Ok(group) = weights.group(layer) else {
        return Ok(Vec::new());
    };
    let path = format!("model_weights/{layer}");
    let attributes = group.attrs();
    let attributes =
        attributes.map_err(|e| format!("the attributes of `{path}` cannot be read: {e}"))?;
    let names = names(&attributes, "weight_names");
    let names = names.ok_or_else(|| format!("`{path}` has no list of `weight_names`"))?;
    let paths = names.into_iter().map(|name| format!("{path}/{name}"));
    Ok(paths.collect())
}

/// Distributes the weights of a nested model over its layers: a legacy file has first the trainable
/// ones of all layers, then all others.
fn split(
    model: &ModelPlan,
    name: &str,
    paths: Vec<String>,
    located: &mut Vec<Located>,
) -> Result<(), String> {
    let layers = model.all_layers();
    let count = |layer: &&LayerNode| match &layer.does {
        Does::Layer(planned) => planned.weight_count(),
        _ => Default::default(),
    };
    let trainable: usize = layers.iter().map(|layer| count(layer).trainable).sum();
    let others: usize = layers.iter().map(|layer| count(layer).others).sum();
    if trainable + others != paths.len() {
        return Err(format!(
            "layer `{}`: the file has {} weights for this model, and the configuration says {}",
            name.escape_debug(),
            paths.len(),
            trainable + others
        ));
    }
    let (mut trainable, mut others) = (paths[..trainable].iter(), paths[trainable..].iter());
    for layer in &layers {
        let count = count(layer);
        let paths = trainable.by_ref().take(count.trainable);
        let paths = paths.chain(others.by_ref().take(count.others));
        located.push(Located {
            layer: format!("{name}/{}", layer.name),
            paths: paths.cloned().collect(),
        });
    }
    Ok(())
}

/// `MultiHeadAttention` as `multi_head_attention` (keras/src/utils/naming.py, `to_snake_case`).
fn snake_case(class: &str) -> String {
    let chars: Vec<char> = class
        .chars()
        .filter(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    let mut snake = String::new();
    for (i, &c) in chars.iter().enumerate() {
        let before = i.checked_sub(1).map(|i| chars[i]);
        let after = chars.get(i + 1);
        let starts_word = c.is_ascii_uppercase()
            && before.is_some_and(|b| {
                b.is_ascii_lowercase() || after.is_some_and(|a| a.is_ascii_lowercase()) && b != '_'
            });
        if starts_word {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_named_as_keras_names_them() {
        for (class, snake) in [
            ("Dense", "dense"),
            ("Conv2D", "conv2d"),
            ("LSTM", "lstm"),
            ("GRU", "gru"),
            ("SimpleRNN", "simple_rnn"),
            ("PReLU", "p_re_lu"),
            ("ReLU", "re_lu"),
            ("LeakyReLU", "leaky_re_lu"),
            ("MultiHeadAttention", "multi_head_attention"),
            ("DepthwiseConv2D", "depthwise_conv2d"),
            ("GlobalAveragePooling2D", "global_average_pooling2d"),
            ("TimeDistributed", "time_distributed"),
            ("BatchNormalization", "batch_normalization"),
        ] {
            assert_eq!(snake_case(class), snake);
        }
    }
}

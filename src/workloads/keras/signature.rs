//! Which of a layer's parameters each argument of a call is for, by its place or by its name.

use super::call::{Arg, Call};

/// The parameters of a layer's `call` in their order.
struct Signature {
    /// Those for its inputs.
    inputs: &'static [&'static str],
    others: &'static [&'static str],
}

impl Signature {
    fn of(class: &str) -> Self {
        let (inputs, others): (&[&str], &[&str]) = match class {
            "SimpleRNN" | "LSTM" | "GRU" | "Bidirectional" => {
                (&["sequences"], &["initial_state", "mask", "training"])
            }
            "MultiHeadAttention" => (
                &["query", "value", "key"],
                &[
                    "query_mask",
                    "value_mask",
                    "key_mask",
                    "attention_mask",
                    "return_attention_scores",
                    "training",
                    "use_causal_mask",
                ],
            ),
            "Attention" => (
                &["inputs"],
                &[
                    "mask",
                    "training",
                    "return_attention_scores",
                    "use_causal_mask",
                ],
            ),
            "GlobalAveragePooling1D" | "Softmax" => (&["inputs"], &["mask"]),
            _ => (&["inputs"], &["training", "mask"]),
        };
        Self { inputs, others }
    }

    /// The parameter of a name: some layers have names of their own for a single input.
    fn parameter<'a>(&self, name: &'a str) -> &'a str {
        match name {
            "inputs" | "sequences" | "data" | "images" if self.inputs.len() == 1 => self.inputs[0],
            name => name,
        }
    }
}

/// The call with a layer's inputs as its arguments, and all others by name.
pub(super) fn sorted(class: &str, call: Call) -> Call {
    let signature = Signature::of(class);
    let names = signature.inputs.iter().chain(signature.others);
    let mut names = names.map(|name| (*name).to_owned());
    let (mut inputs, mut kwargs) = (Vec::new(), Vec::new());
    let mut behind = Vec::new();
    let mut place = |name: String, arg: Arg| {
        let name = signature.parameter(&name);
        match signature.inputs.iter().position(|input| *input == name) {
            _ if matches!(&arg, Arg::Value(value) if value.is_null()) => {}
            Some(index) => inputs.push((index, arg)),
            None => kwargs.push((name.to_owned(), arg)),
        }
    };
    for arg in call.args {
        match names.next() {
            Some(name) => place(name, arg),
            None => behind.push(arg),
        }
    }
    for (name, arg) in call.kwargs {
        place(name, arg);
    }
    inputs.sort_by_key(|(index, _)| *index);
    let args = inputs.into_iter().map(|(_, arg)| arg).chain(behind);
    Call {
        args: args.collect(),
        kwargs,
    }
}

/// The call of a model with its inputs in the order of these names, if it is called with a dictionary.
pub(super) fn by_inputs(names: &[String], mut call: Call) -> Call {
    for arg in &mut call.args {
        if let Arg::Dictionary(parts) = arg {
            let input = |name: &String| parts.iter().find(|(key, _)| key == name);
            let inputs: Option<Vec<_>> = names.iter().map(input).collect();
            if let Some(inputs) = inputs {
                *arg = Arg::List(inputs.into_iter().map(|(_, arg)| arg.clone()).collect());
            }
        }
    }
    call
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::call::TensorRef;
    use super::*;

    fn tensor(layer: &str) -> Arg {
        Arg::Tensor(TensorRef::first_of(layer))
    }

    fn names(args: &[Arg]) -> Vec<&str> {
        let tensors = args.iter().flat_map(Arg::tensors);
        tensors.map(|tensor| &*tensor.layer).collect()
    }

    #[test]
    fn an_argument_is_known_by_its_place_or_its_name() {
        let gru = Call {
            args: vec![tensor("x"), Arg::Value(Value::Null), tensor("m")],
            kwargs: Vec::new(),
        };
        let gru = sorted("GRU", gru);
        assert_eq!(names(&gru.args), ["x"]);
        assert!(matches!(&gru.kwargs[..], [(name, Arg::Tensor(_))] if name == "mask"));
        let attention = Call {
            args: vec![tensor("q")],
            kwargs: vec![("key".into(), tensor("k")), ("value".into(), tensor("v"))],
        };
        let attention = sorted("MultiHeadAttention", attention);
        assert_eq!(names(&attention.args), ["q", "v", "k"]);
        let dense = Call {
            args: Vec::new(),
            kwargs: vec![("inputs".into(), tensor("x"))],
        };
        assert_eq!(names(&sorted("Dense", dense).args), ["x"]);
    }

    #[test]
    fn a_dictionary_is_put_in_the_order_of_a_models_inputs() {
        let parts = ["a", "b"].map(|name| (name.to_owned(), tensor(name)));
        let call = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let call = Call {
                args: vec![Arg::Dictionary(parts.to_vec())],
                kwargs: Vec::new(),
            };
            by_inputs(&names, call)
        };
        assert_eq!(names(&call(&["b", "a"]).args), ["b", "a"]);
        assert!(matches!(&call(&["c"]).args[..], [Arg::Dictionary(_)]));
    }
}

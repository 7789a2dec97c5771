//! The parameters of a layer's `call` method, and the arguments of a call matched to them.

use super::call::{Arg, Call};

/// The parameters of a layer's `call`, in their order.
#[derive(Debug)]
pub(crate) struct Signature {
    /// The parameters that are the layer's inputs.
    pub(crate) inputs: &'static [&'static str],
    /// The parameters after them.
    pub(crate) others: &'static [&'static str],
}

impl Signature {
    /// The parameters of most layers.
    pub(crate) const DEFAULT: Self = Self {
        inputs: &["inputs"],
        others: &["training", "mask"],
    };

    /// The canonical name of a parameter: some layers have a name of their own for their one input.
    fn canonical<'a>(&self, name: &'a str) -> &'a str {
        match name {
            "inputs" | "sequences" | "data" | "images" if self.inputs.len() == 1 => self.inputs[0],
            name => name,
        }
    }

    /// The call with the layer's inputs as positional arguments in their order, and all other
    /// arguments by name.
    pub(crate) fn bind(&self, call: Call) -> Call {
        let mut names = self.inputs.iter().chain(self.others);
        let (mut inputs, mut kwargs) = (Vec::new(), Vec::new());
        let mut surplus = Vec::new();
        let mut place = |name: &str, arg: Arg| {
            let name = self.canonical(name);
            match self.inputs.iter().position(|input| *input == name) {
                _ if matches!(&arg, Arg::Value(value) if value.is_null()) => {}
                Some(index) => inputs.push((index, arg)),
                None => kwargs.push((name.to_owned(), arg)),
            }
        };
        for arg in call.args {
            match names.next() {
                Some(name) => place(name, arg),
                None => surplus.push(arg),
            }
        }
        for (name, arg) in call.kwargs {
            place(&name, arg);
        }
        inputs.sort_by_key(|(index, _)| *index);
        let args = inputs.into_iter().map(|(_, arg)| arg).chain(surplus);
        Call {
            args: args.collect(),
            kwargs,
        }
    }
}

/// The call of a model, a dictionary of its inputs replaced by the list of them in their order.
pub(crate) fn bind_dictionary(inputs: &[String], mut call: Call) -> Call {
    for arg in &mut call.args {
        if let Arg::Dictionary(parts) = arg {
            let input = |name: &String| parts.iter().find(|(key, _)| key == name);
            let list: Option<Vec<_>> = inputs.iter().map(input).collect();
            if let Some(list) = list {
                *arg = Arg::List(list.into_iter().map(|(_, arg)| arg.clone()).collect());
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
    fn an_argument_is_matched_by_its_position_or_its_name() {
        let recurrent = Signature {
            inputs: &["sequences"],
            others: &["initial_state", "mask"],
        };
        let bound = recurrent.bind(Call {
            args: vec![tensor("x"), Arg::Value(Value::Null), tensor("m")],
            kwargs: Vec::new(),
        });
        assert_eq!(names(&bound.args), ["x"]);
        assert!(matches!(&bound.kwargs[..], [(name, Arg::Tensor(_))] if name == "mask"));
        let attention = Signature {
            inputs: &["query", "value", "key"],
            others: &[],
        };
        let bound = attention.bind(Call {
            args: vec![tensor("q")],
            kwargs: vec![("key".into(), tensor("k")), ("value".into(), tensor("v"))],
        });
        assert_eq!(names(&bound.args), ["q", "v", "k"]);
        let bound = Signature::DEFAULT.bind(Call {
            args: Vec::new(),
            kwargs: vec![("sequences".into(), tensor("x"))],
        });
        assert_eq!(names(&bound.args), ["x"]);
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
            bind_dictionary(&names, call)
        };
        assert_eq!(names(&call(&["b", "a"]).args), ["b", "a"]);
        assert!(matches!(&call(&["c"]).args[..], [Arg::Dictionary(_)]));
    }
}

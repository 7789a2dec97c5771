//! What a model's configuration says: its layers with their settings, and the calls between them,
//! as Keras 2 and Keras 3 write them. Nothing here knows what a layer does.

pub(crate) mod call;
pub(crate) mod model;
pub(crate) mod settings;
pub(crate) mod signature;

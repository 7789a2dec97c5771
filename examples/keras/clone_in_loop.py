"""`clone_model` again and again: the clone is dropped."""

import gc

from models import keras, make, repeat

model = keras.models.load_model(make(), compile=False)


def cycle(number):
    keras.models.clone_model(model).set_weights(model.get_weights())
    gc.collect()


repeat(cycle)

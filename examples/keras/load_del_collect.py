"""Habit 1: load the model, predict, delete it, collect garbage."""

import gc

from models import IMAGES, keras, make, repeat

path = make()


def cycle(number):
    model = keras.models.load_model(path, compile=False)
    model.predict(IMAGES, verbose=0)
    del model
    gc.collect()


repeat(cycle)

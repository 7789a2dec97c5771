"""Models are kept in a list: what a leak of whole models looks like."""

import gc

from models import keras, make, repeat

path = make()
models = []


def cycle(number):
    models.append(keras.models.load_model(path, compile=False))
    gc.collect()


repeat(cycle)

"""Makes the model file that the scripts load, and imports the Keras that is asked for.

The environment variable KERAS is `keras` (Keras 3 on the backend of KERAS_BACKEND), `tf_keras` (Keras 2), or
`tf_keras_graph` (Keras 2 in graph mode, as TensorFlow 1 has it).
"""

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

KIND = os.environ.get("KERAS", "keras")
if KIND == "keras":
    import keras
else:
    # Then `tensorflow.keras` is the same Keras.
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import tensorflow
    import tf_keras as keras

    if KIND == "tf_keras_graph":
        tensorflow.compat.v1.disable_eager_execution()

import numpy

PATH = pathlib.Path("model.keras" if KIND == "keras" else "model.h5")
IMAGES = numpy.zeros((32, 28, 28, 1), "float32")
LABELS = numpy.zeros(32, "int32")


def lenet():
    """LeNet-5: 61,706 parameters."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(6, 5, padding="same", activation="tanh"),
            layers.AveragePooling2D(2),
            layers.Conv2D(16, 5, activation="tanh"),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(120, activation="tanh"),
            layers.Dense(84, activation="tanh"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def make():
    """The path of the model's file, which is written if it is not there."""
    if not PATH.exists():
        lenet().save(PATH)
    return PATH


def repeat(cycle):
    """Runs a cycle as often as the environment says."""
    for number in range(int(os.environ.get("CYCLES", "83")) + 1):
        cycle(number)

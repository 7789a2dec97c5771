"""Habit 2: a graph and a session for each model, cleared and closed. Where there is no session: `clear_session`."""

import gc

from models import IMAGES, KIND, keras, make, repeat

path = make()


def with_session():
    import tensorflow

    graph = tensorflow.Graph()
    with graph.as_default():
        session = tensorflow.compat.v1.Session(graph=graph)
        with session.as_default():
            tensorflow.compat.v1.keras.backend.set_session(session)
            model = keras.models.load_model(path, compile=False)
            model.predict(IMAGES, verbose=0)
        session.close()


def without_session():
    model = keras.models.load_model(path, compile=False)
    model.predict(IMAGES, verbose=0)


def cycle(number):
    with_session() if KIND == "tf_keras_graph" else without_session()
    keras.backend.clear_session()
    gc.collect()


repeat(cycle)

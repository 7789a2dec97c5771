"""`fit` again and again, on one model."""

from models import IMAGES, LABELS, keras, make, repeat

model = keras.models.load_model(make(), compile=False)
model.compile(loss="sparse_categorical_crossentropy", optimizer="sgd")


def cycle(number):
    model.fit(IMAGES, LABELS, epochs=1, verbose=0)


repeat(cycle)

"""`predict` again and again, on one model."""

from models import IMAGES, keras, make, repeat

model = keras.models.load_model(make(), compile=False)


def cycle(number):
    model.predict(IMAGES, verbose=0)


repeat(cycle)

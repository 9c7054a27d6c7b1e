"""Images like those of benchmarks, for `simulate_audit.py`: many of a kind look alike.

Noise like photographs, figures of geometry, bar charts, pages of text, and grids of demo.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import combinations

import numpy as np
from PIL import Image, ImageDraw

from vsr1_bench.records import EncodedImage
from vsr1_bench.tiny.scenes import make_row

Random = np.random.Generator
WORDS = (
    "the of angle triangle if find what is area length a b c given circle line point number sum "
    "value square red box ball price train speed hour apple child double half total each left"
).split()


def photo(random: Random) -> Image.Image:
    """Coloured noise of all frequencies, and some ellipses."""
    width, height = ((512, 384), (384, 512), (640, 360), (400, 400))[random.integers(4)]
    shades = np.zeros((height, width, 3), np.float32) + random.normal(128, 30, 3)
    for cells, strength in ((3, 60), (6, 40), (12, 28), (24, 18), (48, 12), (96, 8)):
        grey = random.normal(size=(cells, cells, 1)) * strength
        colour = random.normal(size=(cells, cells, 3)) * strength * 0.4
        noise = Image.fromarray(np.clip(grey + colour + 128, 0, 255).astype(np.uint8))
        shades += np.asarray(noise.resize((width, height), Image.Resampling.BILINEAR), float) - 128
    image = Image.fromarray(np.clip(shades, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(random.integers(6)):
        left, top = random.integers(width), random.integers(height)
        side, ratio = random.integers(20, 150), random.uniform(0.5, 1.5)
        fill = tuple(map(int, random.integers(0, 255, 3)))
        draw.ellipse((left, top, left + side, top + side * ratio), fill=fill)
    return image


def figure(random: Random) -> Image.Image:
    """A polygon with letters, lines and a circle, black on white."""
    width, height = ((400, 300), (300, 300), (500, 250))[random.integers(3)]
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    corners = [tuple(random.uniform(0.1, 0.9, 2) * (width, height)) for _ in "ABCDE"]
    corners = corners[: random.integers(3, 6)]
    draw.polygon(corners, outline="black", width=2)
    for letter, (x, y) in zip("ABCDE", corners, strict=False):
        draw.text((x + 4, y - 10), letter, fill="black", font_size=16)
    if random.random() < 0.5:
        radius = random.uniform(0.2, 0.45) * height
        middle = (width / 2, height / 2)
        draw.circle(middle, radius, outline="black", width=2)
    for _ in range(random.integers(3)):
        ends = random.integers(len(corners), size=2)
        draw.line([corners[end] for end in ends], fill="black", width=2)
    return image


def chart(random: Random) -> Image.Image:
    """Bars of one colour over the same axes."""
    image = Image.new("RGB", (480, 320), "white")
    draw = ImageDraw.Draw(image)
    draw.line((50, 20, 50, 280, 460, 280), fill="black", width=2)
    bars = int(random.integers(3, 8))
    fill = tuple(map(int, random.integers(0, 200, 3)))
    for bar in range(bars):
        left, high = 55 + bar * 400 / bars, random.uniform(20, 250)
        draw.rectangle((left, 280 - high, left + 280 / bars, 280), fill=fill)
        draw.text((left + 3, 285), f"Q{bar}", fill="black", font_size=14)
    for mark in range(5):
        draw.text((10, 275 - mark * 60), f"{10 * mark}", fill="black", font_size=14)
    return image


def page(random: Random) -> Image.Image:
    """Lines of words, black on white."""
    width, height = ((600, 300), (600, 500))[random.integers(2)]
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    for top in range(10, int(height * random.uniform(0.4, 1)) - 20, 26):
        draw.text((10, top), " ".join(random.choice(WORDS, 9)), fill="black", font_size=18)
    return image


def grid(random: Random) -> Image.Image:
    """A scene of the task demo."""
    row = make_row("test", int(random.integers(10**9)))
    return Image.open(io.BytesIO(row["image"])).convert("RGB")


MAKERS: dict[str, Callable[[Random], Image.Image]] = {
    "photo": photo,
    "figure": figure,
    "chart": chart,
    "page": page,
    "grid": grid,
}


def encoded(image: Image.Image, quality: int) -> EncodedImage:
    """An image as JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return EncodedImage(data=buffer.getvalue())


def copied(image: Image.Image, random: Random) -> EncodedImage:
    """A copy: cropped by 0 to 5 % a side, resized by 0.5 to 2, as JPEG of quality 50 to 95."""
    width, height = image.size
    left, top, right, bottom = random.uniform(0, 0.05, 4) * (width, height, width, height)
    box = (round(left), round(top), width - round(right), height - round(bottom))
    scale = random.uniform(0.5, 2)
    size = (max(1, round((box[2] - box[0]) * scale)), max(1, round((box[3] - box[1]) * scale)))
    how = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
    smaller = image.crop(box).resize(size, how[random.integers(3)])
    return encoded(smaller, int(random.integers(50, 96)))


def blends(random: Random, base: int = 400) -> Callable[[int], EncodedImage]:
    """Many images in little time: two photos blended, or one of the other kinds; by number.

    No two numbers below 79,800 blend the same photos, which would be the same picture.
    """
    photos = [photo(random).resize((512, 384)) for _ in range(base)]
    pairs = random.permutation(list(combinations(range(base), 2)))

    def make(number: int) -> EncodedImage:
        own = np.random.default_rng((7, number))
        if own.random() < 0.7:
            one, other = (photos[place] for place in pairs[number % len(pairs)])
            if own.random() < 0.5:
                other = other.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            return encoded(Image.blend(one, other, own.uniform(0.3, 0.7)), 85)
        kind = ("figure", "chart", "page")[own.integers(3)]
        return encoded(MAKERS[kind](own), 85)

    return make

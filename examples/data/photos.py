"""Makes photos/, 60 pictures of 32x32 pixels in folders by what they show: python3 examples/data/photos.py

Discs, squares and triangles of random sizes, places and light colours, on a dark ground with noise.
"""

import pathlib
import random
import struct
import zlib

HERE = pathlib.Path(__file__).parent
SIZE = 32
PICTURES = 20


def inside(shape, dx, dy, radius):
    if shape == "disc":
        return dx * dx + dy * dy <= radius * radius
    if shape == "square":
        return abs(dx) <= radius and abs(dy) <= radius
    return -radius <= dy <= radius and 2 * abs(dx) <= dy + radius


def picture(shape, chance):
    radius = chance.randint(6, 11)
    x, y = (chance.randint(radius + 1, SIZE - radius - 2) for _ in range(2))
    ground, colour = [[chance.randrange(low, low + 90) for _ in range(3)] for low in (0, 150)]
    rows = []
    for row in range(SIZE):
        values = bytearray()
        for column in range(SIZE):
            is_shape = inside(shape, column - x, row - y, radius)
            noise = chance.choice((0, 0, 0, 8))
            values += bytes(min(value + noise, 255) for value in (colour if is_shape else ground))
        rows.append(bytes(values))
    return rows


def png(rows):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", SIZE, SIZE, 8, 2, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


chance = random.Random(7)
for shape in ("disc", "square", "triangle"):
    folder = HERE / "photos" / shape
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, PICTURES + 1):
        (folder / f"{number:02}.png").write_bytes(png(picture(shape, chance)))

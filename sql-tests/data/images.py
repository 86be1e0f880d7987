"""Makes the files below images/, misnamed_images/ and broken_images/, with Pillow 13: python3 sql-tests/data/images.py"""

import pathlib
import struct
import zlib

from PIL import Image

HERE = pathlib.Path(__file__).parent
RED, BLUE = (200, 30, 60), (20, 40, 220)


def gradient(mode, width=4, height=3):
    """Each value differs: rows by 60, columns by 10, channels by 3."""
    channels = len(Image.new(mode, (1, 1)).getbands())
    values = [(60 * y + 10 * x + 3 * c) % 256 for y in range(height) for x in range(width) for c in range(channels)]
    return Image.frombytes(mode, (width, height), bytes(values))


def png(width, height, depth, kind, rows):
    """A PNG with these rows of bytes."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def write(name, content):
    path = HERE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        image, options = content
        image.save(path, **options)


def whole_files():
    write("images/grey.png", (gradient("L"), {}))
    write("images/colour/gradient.png", (gradient("RGB"), {}))
    write("images/colour/plain.jpg", (Image.new("RGB", (16, 12), RED), {"quality": 95}))
    write("images/colour/steps.JPEG", (Image.new("RGB", (40, 20), BLUE), {"quality": 95, "progressive": True}))
    write("images/alpha/gradient.webp", (gradient("RGBA"), {"lossless": True, "exact": True}))
    write("images/alpha/grey.png", (gradient("LA"), {}))
    frames = [Image.new("RGB", (6, 5), colour).quantize(4) for colour in (RED, BLUE)]
    write("images/alpha/moving.gif", (frames[0], {"save_all": True, "append_images": frames[1:], "duration": 100}))
    # Red above blue, after a quarter turn to the right.
    turned = Image.new("RGB", (32, 16), RED)
    turned.paste(BLUE, (16, 0, 32, 16))
    exif = Image.Exif()
    exif[0x0112] = 6
    write("images/odd/turned.jpg", (turned, {"quality": 95, "exif": exif}))
    write("images/odd/cmyk.jpg", (Image.new("RGB", (16, 16), RED).convert("CMYK"), {"quality": 95}))
    write("images/odd/palette.png", (gradient("RGB").quantize(16), {}))
    deep = [b"".join(struct.pack(">H", 256 * (60 * y + 10 * x + 3 * c) + 255) for x in range(4) for c in range(3)) for y in range(3)]
    write("images/odd/deep.png", png(4, 3, 16, 2, deep))
    write("images/odd/bits.png", png(4, 2, 1, 0, [b"\xa0", b"\x50"]))
    write("images/odd/notes.txt", b"not an image, and not read\n")


def misnamed_files():
    write("misnamed_images/grey.jpg", (HERE / "images/grey.png").read_bytes())
    write("misnamed_images/plain.gif", (HERE / "images/colour/plain.jpg").read_bytes())


def broken_files():
    wide = gradient("RGB", 25, 5).resize((120, 90))
    for name, format, options in (("jpg", "JPEG", {}), ("png", "PNG", {}), ("webp", "WEBP", {"quality": 90}), ("gif", "GIF", {})):
        path = HERE / f"broken_images/truncated.{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        wide.save(path, format=format, **options)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    write("broken_images/empty.png", b"")
    write("broken_images/text.jpg", b"this is a text\n")
    write("broken_images/vector.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>\n")
    write("broken_images/huge.png", png(60000, 60000, 8, 2, [b"\0" * 100]))
    write("broken_images/wide.png", png(2**31 - 1, 1, 8, 2, [b"\0" * 100]))


whole_files()
misnamed_files()
broken_files()

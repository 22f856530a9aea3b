"""Picture files of every format and kind of pixel that Pillow reads, some written by Pillow, some by hand."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 45, 67


def photograph(height, width, seed=0):
    """Smooth gradients, texture, noise and hard edges: what resampling and JPEG have to cope with. RGB."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    planes = []
    for channel in range(3):
        plane = 120 + 90 * np.sin(x / (7 + 5 * channel) + rng.random() * 6) * np.cos(y / (11 + 3 * channel))
        plane += 40 * ((x / max(width, 1) * 5 + y / max(height, 1) * 3 + channel).astype(int) % 2)
        plane += rng.normal(0, 12, (height, width))
        planes.append(plane)
    array = np.stack(planes, axis=-1)
    array[height // 3 : height // 2, width // 4 : width // 2] = [255, 0, 255 * (seed % 2)]
    return Image.fromarray(np.clip(array, 0, 255).astype(np.uint8))


def with_alpha(image):
    height, width = image.size[1], image.size[0]
    alpha = np.random.default_rng(1).integers(0, 256, (height, width), dtype=np.uint8)
    image = image.copy()
    image.putalpha(Image.fromarray(alpha))
    return image


def saved(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png(colour_type, depth, rows, palette=None, transparency=None, interlaced=False):
    """A PNG of packed rows; `rows` is [H, W·channels] of samples. Adam7 if asked."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour_type]
    height, width = rows.shape[0], rows.shape[1] // channels

    def packed(samples):
        data = b""
        for row in samples:
            if depth == 16:
                line = row.astype(">u2").tobytes()
            else:
                bits = "".join(format(int(sample), f"0{depth}b") for sample in row)
                bits += "0" * (-len(bits) % 8)
                line = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))
            data += b"\0" + line
        return data

    if interlaced:
        cube = rows.reshape(height, width, channels)
        steps = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
        passes = [cube[top::down, left::right] for top, left, down, right in steps]
        data = b"".join(packed(part.reshape(part.shape[0], -1)) for part in passes if part.size)
    else:
        data = packed(rows)
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, int(interlaced))
    body = chunk(b"IHDR", header)
    if palette is not None:
        body += chunk(b"PLTE", palette)
    if transparency is not None:
        body += chunk(b"tRNS", transparency)
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def bmp16(masks, top_down=False):
    """A 16-bit BMP: 5-5-5 without masks, else with bit fields."""
    height, width = 9, 7
    values = np.random.default_rng(3).integers(0, 65536, (height, width), dtype=np.uint16)
    rows = b"".join(row.astype("<u2").tobytes() + b"\0" * (-width * 2 % 4) for row in values)
    fields = b"".join(struct.pack("<I", mask) for mask in masks)
    offset = 54 + len(fields)
    header = struct.pack(
        "<IiiHHIIiiII", 40, width, -height if top_down else height, 1, 16, 3 if masks else 0, len(rows), 0, 0, 0, 0
    )
    return b"BM" + struct.pack("<IHHI", offset + len(rows), 0, 0, offset) + header + fields + rows


def tiff16(samples, photometric):
    """An uncompressed little-endian TIFF of 16-bit samples, [H, W, channels]."""
    height, width, channels = samples.shape
    data = samples.astype("<u2").tobytes()
    depths = struct.pack("<4H", *([16] * 4))
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, channels, 8 + len(data) if channels > 2 else 16),
        (259, 3, 1, 1),
        (262, 3, 1, photometric),
        (273, 4, 1, 8),
        (277, 3, 1, channels),
        (278, 4, 1, height),
        (279, 4, 1, len(data)),
    ]
    if channels == 4:
        tags.append((338, 3, 1, 2))
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + b"\0" * 4
    return b"II*\0" + struct.pack("<I", 8 + len(data) + len(depths)) + data + depths + directory


def png_files(rgb):
    rng = np.random.default_rng(5)
    palette = rgb.quantize(37)
    wide = rng.integers(0, 65536, (13, 24), dtype=np.uint16)
    colours = rng.integers(0, 256, 48, dtype=np.uint8).tobytes()
    files = {
        "rgb.png": saved(rgb, "PNG"),
        "rgba.png": saved(with_alpha(rgb), "PNG"),
        "gray.png": saved(rgb.convert("L"), "PNG"),
        "gray_alpha.png": saved(with_alpha(rgb.convert("L")), "PNG"),
        "gray_transparent.png": saved(rgb.convert("L"), "PNG", transparency=100),
        "rgb_transparent.png": saved(rgb, "PNG", transparency=(255, 0, 0)),
        "palette.png": saved(palette, "PNG"),
        "palette_transparent.png": saved(palette, "PNG", transparency=3),
        "palette_alphas.png": saved(palette, "PNG", transparency=bytes(range(37))),
        "one_bit.png": saved(rgb.convert("1"), "PNG"),
        "gray16.png": saved(Image.fromarray(wide), "PNG"),
        "gray16_dark.png": saved(Image.fromarray(wide >> 8), "PNG"),
        "one_pixel.png": saved(rgb.crop((30, 20, 31, 21)), "PNG"),
        "tall.png": saved(photograph(901, 307), "PNG"),
        "column.png": saved(rgb.crop((30, 0, 31, HEIGHT)), "PNG"),
        "interlaced.png": png(2, 8, np.array(rgb).reshape(HEIGHT, -1), interlaced=True),
        "rgb16_interlaced.png": png(2, 16, wide, interlaced=True),
    }
    for depth in (1, 2, 4):
        samples = rng.integers(0, 1 << depth, (11, 13))
        files[f"gray{depth}.png"] = png(0, depth, samples)
        files[f"palette{depth}.png"] = png(3, depth, samples, palette=colours)
    for colour_type, name in ((2, "rgb16"), (4, "gray16_alpha"), (6, "rgba16")):
        files[f"{name}.png"] = png(colour_type, 16, wide)
    return files


def lossless_files(rgb):
    """Files that hold every pixel's value: whoever decodes them gets the same."""
    rng = np.random.default_rng(6)
    gray, palette, wide = rgb.convert("L"), rgb.quantize(37), rng.integers(0, 65536, (13, 24), dtype=np.uint16)
    wide_samples = rng.integers(0, 1001, (5, 6), dtype=np.uint16).astype(">u2").tobytes()
    # A frame of another size than the screen: 9 pixels wider, 8 higher, at (2, 3).
    gif = bytearray(saved(palette, "GIF", interlace=0))
    gif[6:10] = struct.pack("<HH", WIDTH + 9, HEIGHT + 8)
    frame = bytes(gif).index(b"\x2c\0\0\0\0" + struct.pack("<HH", WIDTH, HEIGHT))
    gif[frame + 1 : frame + 5] = struct.pack("<HH", 2, 3)
    clear = bytearray(saved(palette, "GIF", transparency=5))
    clear[6:10] = struct.pack("<HH", WIDTH + 1, HEIGHT)
    outside = bytearray(saved(palette, "GIF"))
    outside[6:10] = struct.pack("<HH", WIDTH - 3, HEIGHT - 2)
    files = {
        "rgb.bmp": saved(rgb, "BMP"),
        "rgba.bmp": saved(with_alpha(rgb), "BMP"),
        "gray.bmp": saved(gray, "BMP"),
        "palette.bmp": saved(palette, "BMP"),
        "one_bit.bmp": saved(rgb.convert("1"), "BMP"),
        "palette.gif": saved(palette, "GIF"),
        "straight.gif": saved(palette, "GIF", interlace=0),
        "transparent.gif": saved(palette, "GIF", transparency=5),
        "gray.gif": saved(gray, "GIF"),
        "animated.gif": saved(palette, "GIF", save_all=True, append_images=[rgb.rotate(180).quantize(20)]),
        "offset_frame.gif": bytes(gif),
        "narrow_transparent_frame.gif": bytes(clear),
        "frame_past_the_screen.gif": bytes(outside),
        "rgb.ppm": saved(rgb, "PPM"),
        "gray.pgm": saved(gray, "PPM"),
        "one_bit.pbm": saved(rgb.convert("1"), "PPM"),
        "gray16.pgm": saved(Image.fromarray(wide), "PPM"),
        "plain.pbm": b"P1\n# a comment\n5 2\n0 1 0 1 1\n1 0 0 1 0\n",
        "plain.pgm": b"P2 4 1 100 0 50 99 100",
        "plain.ppm": b"P3\n2 1\n255\n1 2 3  40 50 60\n",
        "maxval1000.pgm": b"P5 6 5 1000\n" + wide_samples,
        "maxval1000.ppm": b"P6 2 5 1000\n" + wide_samples,
        "maxval65535.ppm": b"P6 8 13 65535\n" + wide.astype(">u2").tobytes(),
        "rgb.tiff": saved(rgb, "TIFF"),
        "rgba.tiff": saved(with_alpha(rgb), "TIFF"),
        "gray.tiff": saved(gray, "TIFF"),
        "one_bit.tiff": saved(rgb.convert("1"), "TIFF"),
        "gray16.tiff": saved(Image.fromarray(wide), "TIFF"),
        "rgb16.tiff": tiff16(wide.reshape(13, 8, 3), 2),
        "rgba16.tiff": tiff16(wide.reshape(13, 6, 4), 2),
        "two_pages.tiff": saved(rgb, "TIFF", save_all=True, append_images=[gray]),
    }
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        files[f"{compression}.tiff"] = saved(rgb, "TIFF", compression=compression)
    for orientation in range(1, 9):
        files[f"orientation{orientation}.tiff"] = saved(rgb, "TIFF", tiffinfo={274: orientation})
    return files


def jpeg_files(rgb):
    smooth = photograph(120, 161, seed=9)
    files = {
        "444.jpg": saved(smooth, "JPEG", quality=90, subsampling=0),
        "422.jpg": saved(smooth, "JPEG", quality=90, subsampling=1),
        "420.jpg": saved(smooth, "JPEG", quality=90, subsampling=2),
        "420_low_quality.jpg": saved(smooth, "JPEG", quality=35, subsampling=2),
        "420_small.jpg": saved(rgb.crop((0, 0, 7, 5)), "JPEG", quality=90, subsampling=2),
        "420_one_pixel.jpg": saved(rgb.crop((0, 0, 1, 1)), "JPEG", quality=90, subsampling=2),
        "411.jpg": saved(smooth, "JPEG", quality=90, subsampling="4:1:1"),
        "420_odd.jpg": saved(photograph(97, 131, seed=5), "JPEG", quality=80, subsampling=2),
        "420_progressive_low.jpg": saved(smooth, "JPEG", quality=20, progressive=True, subsampling=2),
        "progressive.jpg": saved(smooth, "JPEG", quality=90, progressive=True),
        "progressive_444.jpg": saved(smooth, "JPEG", quality=90, progressive=True, subsampling=0),
        "restarts.jpg": saved(smooth, "JPEG", quality=90, restart_marker_blocks=2),
        "optimized.jpg": saved(smooth, "JPEG", quality=75, optimize=True),
        "gray.jpg": saved(smooth.convert("L"), "JPEG", quality=90),
        "gray_progressive.jpg": saved(smooth.convert("L"), "JPEG", quality=90, progressive=True),
        "rgb_inside.jpg": saved(smooth, "JPEG", quality=90, keep_rgb=True),
        "cmyk.jpg": saved(smooth.convert("CMYK"), "JPEG", quality=90),
        "cmyk_progressive.jpg": saved(smooth.convert("CMYK"), "JPEG", quality=90, progressive=True),
        "exif_orientation.jpg": saved(smooth, "JPEG", quality=90, exif=orientation_exif(6)),
        "trailing_bytes.jpg": saved(smooth, "JPEG", quality=90) + b"after the end",
    }
    # The same samples declared YCCK (Adobe's transform 2) or without Adobe's marker.
    cmyk = files["cmyk.jpg"]
    at = cmyk.index(b"Adobe")
    files["ycck.jpg"] = cmyk[: at + 11] + b"\x02" + cmyk[at + 12 :]
    files["cmyk_without_adobe.jpg"] = cmyk[: at - 4] + cmyk[at + 12 :]
    return files


def orientation_exif(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    return exif


def all_groups():
    rgb = photograph(HEIGHT, WIDTH, seed=2)
    smooth = photograph(120, 161, seed=9)
    return {
        "png": png_files(rgb),
        "lossless": lossless_files(rgb),
        "jpeg": jpeg_files(rgb),
        "webp": {
            "rgb.webp": saved(rgb, "WEBP", lossless=True),
            "rgba.webp": saved(with_alpha(rgb), "WEBP", lossless=True, exact=True),
            "lossy_odd.webp": saved(rgb, "WEBP", quality=30),
            "lossy.webp": saved(smooth, "WEBP", quality=85),
            "lossy_alpha.webp": saved(with_alpha(smooth), "WEBP", quality=85),
            "animated.webp": saved(smooth, "WEBP", quality=85, save_all=True, append_images=[smooth.rotate(180)]),
        },
        "rounded": {
            "cmyk.tiff": saved(smooth.convert("CMYK"), "TIFF"),
            "555.bmp": bmp16([]),
            "565.bmp": bmp16([0xF800, 0x07E0, 0x001F]),
            "555_top_down.bmp": bmp16([], top_down=True),
            "maxval100.pgm": b"P5 101 1 100\n" + bytes(range(101)),
        },
        "oriented": {f"exif{o}.jpg": saved(smooth, "JPEG", exif=orientation_exif(o)) for o in range(1, 9)}
        | {f"exif{o}.png": saved(smooth, "PNG", exif=orientation_exif(o)) for o in range(1, 9)},
        "unsupported": {
            "gray_alpha.tiff": saved(with_alpha(rgb.convert("L")), "TIFF"),
            "palette.tiff": saved(rgb.quantize(37), "TIFF"),
            "float.tiff": saved(Image.fromarray(np.ones((4, 5), np.float32)), "TIFF"),
            "icon.ico": saved(rgb, "ICO"),
            "tga_has_no_magic.tga": saved(rgb, "TGA"),
        },
    }

"""Drawing tools of the figures: sheets of images with headings, heat maps, plots as pictures, animations."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gqn.errors import BadInput
from gqn.metrics.statistics import standard_error
from gqn.views import check_images, check_range, floats

Images = NDArray[np.uint8]  # (*B, H, W, 3)
GAP, TEXT, SMALL = 4, 16, 13  # pixels between images; heights of headings and of labels
MOVING = (".webp", ".gif", ".mp4")  # suffixes of an animation


def images(frames: Tensor) -> Images:
    """Frames (*B, 3, H, W), float in [0, 1], as an array (*B, H, W, 3) of uint8."""
    return (frames.clamp(0, 1) * 255).round().byte().movedim(-3, -1).contiguous().cpu().numpy()


def heat(values: NDArray[Any], top: float, colours: str = "inferno") -> Images:
    """Values (*B, H, W) in [0, top] as colours (*B, H, W, 3) of a matplotlib colormap; values outside are clipped."""
    import matplotlib

    return (matplotlib.colormaps[colours](np.clip(values / top, 0, 1))[..., :3] * 255).round().astype(np.uint8)


@dataclass(frozen=True)
class Group:
    """Columns of a sheet under one heading."""

    heading: str
    images: Images  # (R, C, H, W, 3)
    columns: Sequence[str] | None = None  # (C,): over each column
    notes: Sequence[Sequence[str]] | None = None  # (R, C): under each image


def sheet(groups: Sequence[Group], rows: Sequence[str] | None = None, side: int = 96, title: str = "") -> Image.Image:
    """Groups of image columns side by side. Images are enlarged by a whole factor, to at least `side` pixels.

    All groups have the same number of rows, which `rows` label on the left; a label may have several lines.
    """
    count, height, width = groups[0].images.shape[0], *groups[0].images.shape[2:4]
    scale = -(-side // height)
    cell_w, cell_h = width * scale, height * scale
    subheads, notes = any(g.columns for g in groups), any(g.notes for g in groups)
    top = GAP + (TEXT + 10 if title else 0)  # top of the headings
    head = top + (TEXT + 6 if any(g.heading for g in groups) else 0) + (SMALL + 6 if subheads else 0)
    pitch = cell_h + GAP + (SMALL + 5 if notes else 0)
    left = 2 * GAP + (max(_width(line, SMALL) for row in rows for line in row.split("\n")) + 2 * GAP if rows else 0)
    widths = [max(g.images.shape[1] * (cell_w + GAP), _width(g.heading, TEXT)) for g in groups]
    total = left + sum(widths) + 4 * GAP * (len(groups) - 1) + 2 * GAP
    canvas = Image.new("RGB", (max(total, left + _width(title, TEXT) + 2 * GAP), head + count * pitch + GAP), "white")
    pen = ImageDraw.Draw(canvas)
    if title:
        pen.text((2 * GAP, GAP), title, "black", font(TEXT))
    for r, label in enumerate(rows or ()):
        pen.multiline_text((2 * GAP, head + r * pitch + cell_h / 2), label, "black", font(SMALL), anchor="lm")
    x = left
    for group, group_width in zip(groups, widths, strict=True):
        pen.text((x, top), group.heading, "black", font(TEXT))
        for c in range(group.images.shape[1]):
            at = x + c * (cell_w + GAP)
            if group.columns:
                pen.text((at + cell_w / 2, head - 4), group.columns[c], "black", font(SMALL), anchor="ms")
            for r in range(count):
                tile = Image.fromarray(group.images[r, c]).resize((cell_w, cell_h), Image.Resampling.NEAREST)
                canvas.paste(tile, (at, head + r * pitch))
                if group.notes:
                    under = (at + cell_w / 2, head + r * pitch + cell_h + 2)
                    pen.text(under, group.notes[r][c], "black", font(SMALL), anchor="mt")
        x += group_width + 4 * GAP
    return canvas


def picture(**columns: Tensor) -> Image.Image:
    """A sheet of frames (R, C, 3, H, W), float in [0, 1] or uint8, each argument under its name; a row for each scene.

    BadInput for other shapes, types or values, or if numbers of rows or pixels differ between arguments.
    """
    if not columns:
        raise BadInput("a picture is of frames: picture(context=..., truth=...)")
    first = next(iter(columns))
    for name, frames in columns.items():
        check_images(frames, name)
        check_range(frames, name)
        if frames.ndim != 5 or not frames.numel():
            raise BadInput(f"{name} must be (rows, columns, 3, height, width), and not {tuple(frames.shape)}")
        rows, _, *pixels = frames.shape
        if (rows, *pixels) != (columns[first].shape[0], *columns[first].shape[2:]):
            raise BadInput(
                f"{first} and {name} must have as many rows and pixels as each other, "
                f"not the shapes {tuple(columns[first].shape)} and {tuple(frames.shape)}"
            )
    return sheet([Group(name.replace("_", " "), images(floats(frames))) for name, frames in columns.items()])


def below(*pictures: Image.Image) -> Image.Image:
    """Pictures one below the other."""
    canvas = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), "white")
    y = 0
    for picture in pictures:
        canvas.paste(picture, (0, y))
        y += picture.height
    return canvas


def plot(figure: Any) -> Image.Image:
    """A matplotlib Figure as a picture; make it with `matplotlib.figure.Figure(...)`, which needs no display."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return Image.open(file).convert("RGB")


def curves(axes: Any, values: dict[str, NDArray[Any]], first: int = 1) -> None:
    """Lines of values (scenes, K) by name against the number of context views from `first` on, ± standard error."""
    for name, x in values.items():
        axes.errorbar(
            range(first, first + x.shape[1]), x.mean(0), standard_error(x), label=name, marker="o", ms=4, capsize=3
        )
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)


def animation(frames: Sequence[Image.Image], suffix: str, per_second: int = 12) -> bytes:
    """The bytes of an animation's file, in the format of `suffix`, one of MOVING; .webp and .gif repeat for ever.

    MP4 needs the extra video; BadInput without it.
    """
    file = io.BytesIO()
    if suffix == ".mp4":
        _film(file, frames, per_second)
    else:
        options: dict[str, Any] = {"lossless": True} if suffix == ".webp" else {}
        every = dict(save_all=True, append_images=frames[1:], duration=1000 // per_second, loop=0)
        frames[0].save(file, suffix[1:], **every, **options)
    return file.getvalue()


def _film(file: io.BytesIO, frames: Sequence[Image.Image], per_second: int) -> None:
    try:
        import av
    except ImportError as error:
        raise BadInput("an MP4 needs the extra video: pip install 'gqn[video]', or choose .webp or .gif") from error
    with av.open(file, "w", "mp4") as film:
        stream: Any = film.add_stream("libx264", rate=per_second, options={"crf": "16"})
        stream.width, stream.height = (-(-side // 2) * 2 for side in frames[0].size)  # yuv420p: even sides
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            padded = Image.new("RGB", (stream.width, stream.height), "white")
            padded.paste(frame)
            film.mux(stream.encode(av.VideoFrame.from_image(padded)))
        film.mux(stream.encode())


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The font of all figures, plots included, `size` pixels high."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", size - 2)


def _width(text: str, size: int) -> int:
    return int(font(size).getlength(text)) + 1

"""A folder of images: one sub-folder a class, or flat and unlabelled; made what the network takes by its preprocess."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from compress.own_arrays import task_of
from models.errors import DataError, UsageError
from models.records import Model, Preprocess, Task

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
Array = np.ndarray[Any, Any]


def image_task(
    folder: Path, model: Model | None, *, seed: int = 0, batch_size: int = 64, preprocess: Preprocess | None = None
) -> Task:
    """The task of a folder of images; they are kept as bytes and prepared batch by batch.

    Raises:
        UsageError: nothing says how a picture becomes an input, or for how many channels.
        DataError: there are no images, some are of no class, or one cannot be read.
    """
    how = preprocess or (model.preprocess if model is not None else None)
    if how is None:
        raise UsageError(
            f"data {str(folder)!r} is a folder of images, and the model does not say how they become its input. "
            "Say it: --preprocess resize=32x32,layout=NCHW,mean=124:116:104,scale=0.017"
        )
    size, channels, layout = _wanted(how, model, folder)
    _check_channels(how, 1 if channels == 1 else 3, folder)
    classes = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if classes:
        _refuse_loose(folder, classes)
    groups = [folder / name for name in classes] or [folder]
    files = [(number, file) for number, group in enumerate(groups) for file in _images(group)]
    if not files:
        raise DataError(f"data {str(folder)!r} has no rows: there is no image in it ({', '.join(SUFFIXES)}).")
    pixels = np.stack([_read(file, size, channels) for _, file in files])
    target = np.array([number for number, _ in files]) if classes else None

    def prepare(batch: Array) -> Array:
        scaled = (batch.astype(np.float32) - np.array(how.mean, np.float32)) * np.array(how.scale, np.float32)
        return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)) if layout == "NCHW" else scaled

    return task_of(
        {"x": pixels},
        target,
        model,
        source=str(folder),
        seed=seed,
        batch_size=batch_size,
        labels=tuple(classes),
        prepare=prepare,
    )


def _wanted(how: Preprocess, model: Model | None, folder: Path) -> tuple[tuple[int, int], int, str]:
    """Height and width, channels, layout: as the preprocess says, and for the rest as the model's input is."""
    dims = model.inputs[0].dims if model is not None else ()
    layout = how.layout or ("NHWC" if len(dims) == 4 and dims[3] in (1, 3) and dims[1] not in (1, 3) else "NCHW")
    if model is not None and len(dims) != 4:
        shape = f"{model.inputs[0].name}[{','.join(map(str, dims))}]"
        raise DataError(f"data {str(folder)!r} is a folder of images, and the model takes {shape}, which is none.")
    if dims:
        channels, height, width = dims[1:] if layout == "NCHW" else (dims[3], *dims[1:3])
    else:
        channels, height, width = (len(how.mean) if len(how.mean) > 1 else 3), "H", "W"
    size = how.resize or (height, width)
    if not all(isinstance(s, int) for s in size):
        raise UsageError(
            f"data {str(folder)!r}: the model takes images of any size. Say one: --preprocess resize=32x32,..."
        )
    return (int(size[0]), int(size[1])), channels if isinstance(channels, int) else 3, layout


def _check_channels(how: Preprocess, channels: int, folder: Path) -> None:
    for name, numbers in (("mean", how.mean), ("scale", how.scale)):
        if len(numbers) not in (1, channels):
            given = ":".join(f"{number:g}" for number in numbers)
            raise UsageError(
                f"data {str(folder)!r}: {name}={given} has {len(numbers)} numbers, and the images are read with "
                f"{channels} channel{'s' if channels > 1 else ''}. Give one number for each: "
                f"--preprocess {name}={':'.join('ABC'[:channels])},..."
            )


def _refuse_loose(folder: Path, classes: Sequence[str]) -> None:
    """Images beside the folders of classes are of none: were they left out, nobody would know what was scored."""
    if loose := [file for file in _images(folder) if file.parent == folder]:
        some = ", ".join(map(repr, classes[:3])) + (", ..." if len(classes) > 3 else "")
        raise DataError(
            f"data {str(folder)!r}: {len(loose)} image{'s' if len(loose) > 1 else ''} ({loose[0].name!r} first) beside "
            f"the folder{'s' if len(classes) > 1 else ''} {some}, taken for classes. Move them into their classes, or "
            "elsewhere; for images without classes leave no folder beside them."
        )


def _images(folder: Path) -> Sequence[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())


def _read(file: Path, size: tuple[int, int], channels: int) -> Array:
    """Pixels (H, W, C), 0 to 255."""
    try:
        with Image.open(file) as image:
            shown = image.convert("L" if channels == 1 else "RGB")
            if shown.size != size[::-1]:
                shown = shown.resize(size[::-1], Image.Resampling.BILINEAR)
            return np.asarray(shown).reshape(*size, -1)
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise DataError(f"data: the image {str(file)!r} cannot be read: it is cut off, damaged or no image.") from error

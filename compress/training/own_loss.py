"""A loss of somebody else's in the place of the task's own: a plug-in's by its name, or pkg.module:function.

It is called as loss(outputs, target, inputs), all tensors: outputs and inputs by their names, the target as the task
has it, None where the data has no labels. It gives the mean loss of one batch.
"""

from __future__ import annotations

from compress.plugins import find_code, installed
from models.errors import UsageError, did_you_mean

from .state import Loss


def find_loss(name: str) -> Loss:
    """The function of that name.

    Raises:
        UsageError: there is none.
        CompressError: it belongs to a plug-in that is broken.
    """
    found: Loss | None = find_code("loss", name, option="--loss")
    if found is None:
        near = did_you_mean(name, [plugin.name for plugin in installed() if plugin.kind == "loss"])
        raise UsageError(
            f"recovery: no loss named {name!r} is installed.{near} `compress passes` lists what is; your own is named "
            "as pkg.module:function, and without any the task's own loss is taken."
        )
    return found

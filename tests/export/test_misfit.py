import pytest
import torch
from torch import nn

import compress  # noqa: F401
from export.wrap import Model
from models.errors import LiftError


class ByName(nn.Module):
    def __init__(self, look):
        super().__init__()
        self.layer, self.look = nn.Linear(10, 4), look

    def forward(self, batch):
        return self.layer(self.look(batch))


class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = ByName(lambda batch: batch["x"] + batch["y"])

    def forward(self, x, y):
        return self.net({"x": x, "y": y})


def refusal(network, *inputs):
    with pytest.raises(LiftError) as caught:
        Model(network.eval(), inputs=inputs)
    return str(caught.value)


@pytest.mark.parametrize(
    ("network", "dims"), [(nn.Linear(10, 4), "N,10"), (nn.Conv2d(3, 4, 3), "N,3,8,8"), (nn.GRU(3, 4), "T,N,3")], ids=str
)
def test_weights_of_another_type_name_the_input_that_fits_and_it_does(network, dims):
    assert f"Its weights are float64: write --input x:float64[{dims}], or make it" in refusal(
        network.double(), f"x:float32[{dims}]"
    )
    assert Model(network, inputs=[f"x:float64[{dims}]"]).outputs[0].dtype == "float64"


def test_weights_of_a_type_that_no_input_has_are_to_be_made_float32():
    text = refusal(nn.Linear(10, 4).bfloat16(), "x:float32[N,10]")
    assert "Its weights are bfloat16, which no input can be: make it float32 by net.float()" in text


@pytest.mark.parametrize(
    "look",
    [lambda b: b["x"] + b["y"], lambda b: b.get("x"), lambda b: b.x, lambda b: dict(b.items())["x"]],
    ids=["item", "get", "attribute", "items"],
)
@pytest.mark.parametrize("inputs", [("x:float32[N,10]",), ("x:float32[N,10]", "y:float32[N,10]")], ids=len)
def test_a_network_that_takes_a_dict_is_told_how_to_be_wrapped(look, inputs):
    names = ["x", "y"][: len(inputs)]
    given = ", ".join(f"'{name}': {name}" for name in names)
    told = f"def forward(self, {', '.join(names)}): return self.net({{{given}}})"
    assert told in refusal(ByName(look), *inputs)


def test_what_is_told_works():
    torch.manual_seed(0)
    assert [spec.name for spec in Model(Wrapped().eval(), inputs=["x:float32[N,10]", "y:float32[N,10]"]).inputs] == [
        "x",
        "y",
    ]


def test_other_mistakes_are_taken_for_wrong_sizes():
    assert refusal(nn.Linear(7, 4), "x:float32[N,10]").endswith("give a size for each letter.")

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compress.base import Context
from compress.pruning.axes import Axis
from compress.pruning.importance import comparable
from compress.pruning.prune import Prune
from compress.pruning.scope import kept_over_network
from tests.compress.pruning.test_data_importances import lifted

GROUPS = st.lists(st.lists(st.floats(0, 100), min_size=1, max_size=40), min_size=1, max_size=5)


def scored(rows):
    return {Axis(len(row)): np.array(row, float) for row in rows}


def test_units_are_ranked_as_multiples_of_their_groups_mean():
    scores = scored([[1, 1, 1, 1], [100, 200, 300, 400]])  # relative: 1 each; 0.4, 0.8, 1.2, 1.6
    assert list(kept_over_network(scores, 0.25, 1).values()) == [4, 2]
    assert list(kept_over_network(scores, 0.5, 1).values()) == [2, 2]


def test_scores_in_one_unit_are_ranked_as_they_are():
    scores = scored([[1, 1, 1, 1], [100, 200, 300, 400]])
    assert list(kept_over_network(scores, 0.25, 1, comparable=True).values()) == [2, 4]
    assert comparable("taylor") and not comparable("l2") and not comparable("activation")


def test_no_group_is_emptied():
    scores = scored([[0.0] * 39 + [100.0], list(range(1, 11))])
    assert list(kept_over_network(scores, 0.72, 1).values()) == [4, 10]  # a tenth of forty
    assert list(kept_over_network(scores, 0.72, 6).values()) == [6, 8]
    assert list(kept_over_network(scores, 0.99, 1).values()) == [4, 1]


@settings(deadline=None, max_examples=60)
@given(GROUPS, st.floats(0, 0.99), st.integers(1, 5))
def test_the_share_goes_unless_the_least_of_each_group_forbids_it(rows, ratio, min_units):
    scores = scored(rows)
    kept = kept_over_network(scores, ratio, min_units)
    least = {axis: min(axis.size, max(min_units, -(-axis.size // 10))) for axis in scores}
    assert all(least[axis] <= kept[axis] <= axis.size for axis in scores)
    gone, total = sum(axis.size - kept[axis] for axis in scores), sum(axis.size for axis in scores)
    assert gone == min(int(total * ratio + 1e-9), sum(axis.size - least[axis] for axis in scores))


def test_a_layer_that_matters_less_loses_more():
    module = nn.Sequential(nn.Linear(5, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 3))
    for layer in (module[2], module[4]):  # of the second layer's units ten are nearly nothing
        layer.weight.data[(slice(10, None),) if layer is module[2] else (slice(None), slice(10, None))] *= 1e-3
    model = lifted(module)
    network = Prune(scope="network", ratio=0.25, recover=0, multiple=1)(model, Context()).model.network
    assert (network.get_submodule("0").out_features, network.get_submodule("2").out_features) == (20, 10)

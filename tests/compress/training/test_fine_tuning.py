import pytest

from compress.base import Context
from compress.training.fine_tuning import check_recovery, fine_tune
from models.errors import UsageError
from tests.compress.small_tasks import convolutional, digits, lifted, same


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (("mytrain", 0.0), "prune: recover 'mytrain' asked, and it must be a number of steps, or your own training"),
        (("my train:it", 0.0), "recover 'my train:it' asked"),
        ((-1, 0.0), "prune: recover -1 asked, and it must be 0 or more"),
        ((1, float("nan")), "prune: minutes nan asked, and it must be 0 or more"),
        ((1, 0.0, 0.0), "prune: learning_rate 0 asked, and it must be more than 0"),
    ],
)
def test_fields_out_of_range_are_refused(fields, message):
    with pytest.raises(UsageError, match=message):
        check_recovery("prune", *fields)
    check_recovery("prune", "mytrain.loops:finetune", 5.0)


def test_a_checkpoint_of_another_start_is_refused(tmp_path):
    context = Context(task=digits(), checkpoint=tmp_path / "out.training.pt", resume=True)
    options = {"steps": 2, "minutes": 0.0, "what": "prune"}
    model, other = lifted(convolutional()), lifted(convolutional(seed=1))
    made, facts, _ = fine_tune(model, model, context, **options)
    assert facts["learning_rate"] == 6e-3 and facts["teacher_weight"] == 0.9
    again, _, _ = fine_tune(model, model, context, **options)
    assert same(made.network, again.network)
    with pytest.raises(UsageError, match=r"run with starting_weights='\w+', and starting_weights='\w+' is asked for"):
        fine_tune(other, model, context, **options)

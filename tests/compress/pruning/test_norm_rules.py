from torch.nn import functional as F

from tests.compress.between import assert_units_pass


def test_statistics_of_each_channel_alone_let_channels_pass():
    assert_units_pass(lambda x: F.instance_norm(x.mT).mT)


def test_channels_that_are_normalized_by_their_own_batch_pass():
    assert_units_pass(lambda x: F.batch_norm(x.mT, None, None, training=True).mT)

from model.training.skips import Skips


def test_a_few_of_a_hundred_steps_may_be_skipped():
    skips = Skips(allowed=2)
    assert not skips.last
    for _ in range(2):
        skips.note(skipped=True)
    assert skips.last
    assert not skips.too_many
    assert (skips.read(), skips.read()) == (2, 0)
    for _ in range(99):
        skips.note(skipped=False)
    assert not skips.last
    skips.note(skipped=True)
    assert not skips.too_many  # those of long ago no longer count
    skips.note(skipped=True)
    skips.note(skipped=True)
    assert skips.too_many
    assert str(skips) == "3 of the last 100 steps"

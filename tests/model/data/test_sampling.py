from collections import Counter

import pytest

from model.data.sampling import EpochBatches, SampleKey, batches_per_epoch


def test_batches_resume_exactly():
    whole = list(EpochBatches(17, 4, seed=5, start=0, stop=13))
    for step in range(14):
        rest = EpochBatches(17, 4, seed=5, start=step, stop=13)
        assert list(rest) == whole[step:]
        assert len(rest) == 13 - step


def test_an_epoch_sees_each_face_once():
    assert batches_per_epoch(17, 4) == 4
    batches = list(EpochBatches(17, 4, seed=0, start=0, stop=8))
    assert {len(batch) for batch in batches} == {4}
    for number, epoch in enumerate((batches[:4], batches[4:])):
        keys = [key for batch in epoch for key in batch]
        assert {key.epoch for key in keys} == {number}
        assert len({key.face for key in keys}) == 16  # the seventeenth waits for another epoch
    first, second = (
        [key.face for batch in part for key in batch] for part in (batches[:4], batches[4:])
    )
    assert first != second
    assert batches != list(EpochBatches(17, 4, seed=1, start=0, stop=8))


def test_fewer_faces_than_a_batch():
    assert batches_per_epoch(3, 8) == 1
    assert [len(batch) for batch in EpochBatches(3, 8, seed=0, start=0, stop=2)] == [3, 3]


def test_parts_of_a_batch_are_shared_out():
    whole = list(EpochBatches(17, 8, seed=5, start=1, stop=4))
    for processes in (1, 2, 4):
        shares = [
            list(EpochBatches(17, 8, 5, 1, 4, parts=4, taken=range(process, 4, processes)))
            for process in range(processes)
        ]
        assert {len(share) for share in shares} == {3 * 4 // processes}
        together = [part for turn in zip(*shares, strict=True) for part in turn]
        steps = [together[i : i + 4] for i in range(0, 12, 4)]
        assert [[key for part in step for key in part] for step in steps] == whole
        assert {len(part) for part in together} == {2}
    assert len(EpochBatches(17, 8, 5, 1, 4, parts=4, taken=(0, 2))) == 6


def test_faces_of_more_weight_come_more_often():
    weights = [1.0] * 10 + [3.0] * 10
    batches = list(EpochBatches(20, 4, seed=0, start=0, stop=5 * 40, weights=weights))
    keys = [key for batch in batches for key in batch]
    counts = Counter(key.face for key in keys)
    assert sum(counts.values()) == 20 * 40  # an epoch is as long as without weights
    for face in range(20):
        expected = 40 * weights[face] / 2
        assert counts[face] == pytest.approx(expected, rel=0.4)
        in_epochs = Counter(key.epoch for key in keys if key.face == face)
        assert max(in_epochs.values()) <= (1 if face < 10 else 2)  # rounded up, and no more
    assert len(set(keys)) == len(keys)  # a face that comes twice is degraded in two ways


def test_equal_weights_are_none():
    plain = list(EpochBatches(17, 4, seed=3, start=0, stop=9))
    assert list(EpochBatches(17, 4, seed=3, start=0, stop=9, weights=[0.3] * 17)) == plain


def test_weighted_batches_resume_exactly():
    weights = [1.0, 2.5, 0.3] * 5
    whole = list(EpochBatches(15, 4, seed=5, start=0, stop=10, weights=weights))
    for step in range(11):
        rest = EpochBatches(15, 4, seed=5, start=step, stop=10, weights=weights)
        assert list(rest) == whole[step:]
    assert whole[0][0] == SampleKey(*whole[0][0])

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from app.engines.cuda_graphs import SIZES, CudaGraphs, size_for
from app.engines.engine import Crops
from app.engines.levels import LevelsToLevels

needs_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def test_the_smallest_size_that_is_enough():
    assert [size_for(count) for count in range(1, 10)] == [1, 2, 4, 4, 8, 8, 8, 8, 16]
    assert size_for(SIZES[-1]) == SIZES[-1]


@needs_a_gpu
@torch.inference_mode()
def test_computes_what_the_network_does(generator, crops):
    device = torch.device("cuda", 0)
    network = LevelsToLevels(generator).eval().to(device)
    expected, means = network(torch.from_numpy(crops).to(device))
    graphs = CudaGraphs(network, generator.size, device)
    for _ in range(2):
        for count in (1, 2, 3, 5):
            levels, means_seen = graphs(crops[:count])
            assert np.abs(levels.astype(int) - expected[:count].cpu().numpy()).max() <= 1
            assert np.allclose(means_seen, means[:count].cpu(), atol=1e-4)


@needs_a_gpu
def test_threads_get_their_own_results(generator):
    device = torch.device("cuda", 0)
    graphs = CudaGraphs(LevelsToLevels(generator).eval().to(device), generator.size, device)
    rng = np.random.default_rng(0)
    shape = (generator.size, generator.size, 3)
    batches = [rng.integers(0, 256, (1 + i % 7, *shape), dtype=np.uint8) for i in range(40)]

    def restore(batch: Crops) -> Crops:
        with torch.inference_mode():
            return graphs(batch)[0]

    expected = [restore(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(expected, pool.map(restore, batches), strict=True):
            assert np.abs(one.astype(int) - other).max() <= 1

"""In which format the network is fastest on this processor: ``python benchmarks/formats.py``.

The default network forward and back on 16 slices of 128 pixels, one thread, processor time, mean of the rounds:
bfloat16 where the processor is good at it, and float32; each as usual and with the channels last.
"""

import argparse
import contextlib
import copy
import time

import torch
from common import append

from napari_segmatch.config import configure
from napari_segmatch.engine.device import autocast
from napari_segmatch.engine.learner import Learner


def milliseconds(network, images, precision, rounds):
    for turn in range(rounds + 2):
        if turn == 2:
            since = time.process_time()
        with precision():
            loss = network(images).float().mean()
        loss.backward()
    return 1000 * (time.process_time() - since) / rounds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    torch.set_num_threads(1)
    learner = Learner(configure(device="cpu"), 1, 1)
    row = {"rounds": given.rounds}
    for name, precision in (("as_it_runs", lambda: autocast(learner.device)), ("float32", contextlib.nullcontext)):
        for layout, memory in (("", torch.contiguous_format), ("_channels_last", torch.channels_last)):
            network = copy.deepcopy(learner.model).to(memory_format=memory)
            images = torch.randn(16, 1, 128, 128).to(memory_format=memory)
            row[f"{name}{layout}_ms"] = round(milliseconds(network, images, precision, given.rounds))
    print(append("formats", row))


if __name__ == "__main__":
    main()

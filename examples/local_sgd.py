"""Local SGD with compressed exchanges (thesis chapter 3): each process trains on its own part of the data, and every
epoch the parameters are quantized, Huffman coded, exchanged, decoded and averaged.

    torchrun --nproc-per-node 2 examples/local_sgd.py                           # the digits of scikit-learn
    torchrun --nproc-per-node 2 examples/local_sgd.py --data mnist.npz          # x_train, y_train, x_test, y_test
    torchrun --nproc-per-node 2 examples/local_sgd.py --exchange differences    # what changed, with error feedback
    torchrun --nproc-per-node 2 examples/local_sgd.py --exchange plain          # float32 all-reduce, for comparison

The network is the thesis's: three layers of weights, 392 and 50 hidden units, tanh, mean squared error.
"""

from __future__ import annotations

import argparse
import os
import sys
from itertools import pairwise

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

import effdl_fast as ef
from effdl_fast import data as datasets


def network(features: int, classes: int) -> torch.nn.Module:
    sizes = (features, 392, 50, classes)
    layers = [(torch.nn.Linear(a, b), torch.nn.Tanh()) for a, b in pairwise(sizes)]
    return torch.nn.Sequential(torch.nn.Flatten(), *(part for layer in layers for part in layer))


def train_epoch(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, target: Tensor, batch: int
) -> float:
    """One pass in random order; the mean loss."""
    total = 0.0
    for part in torch.randperm(len(x)).split(batch):
        loss = F.mse_loss(model(x[part]), target[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += float(loss.detach()) * len(part)
    return total / len(x)


@torch.no_grad()
def accuracy(model: torch.nn.Module, x: Tensor, y: Tensor) -> float:
    return float((model(x).argmax(1) == y).float().mean())


@torch.no_grad()
def average_plain(model: torch.nn.Module) -> ef.compress.Traffic:
    for p in model.parameters():
        dist.all_reduce(p)
        p /= dist.get_world_size()
    elements = sum(p.numel() for p in model.parameters())
    traffic = ef.compress.Traffic(dist.get_world_size(), elements, 4 * elements)
    traffic.sent_bytes = round(traffic.allreduce_bytes)
    return traffic


def main() -> None:
    parser = argparse.ArgumentParser(description="Local SGD with compressed exchanges.")
    parser.add_argument("--data", default="digits", help="digits, fashion-mnist or an .npz file")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=32, help="of each process")
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--exchange", choices=("weights", "differences", "plain"), default="weights")
    parser.add_argument("--floor", type=float, default=6, help="c of the thesis: 5 takes fewer bytes")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    dist.init_process_group("gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    torch.set_num_threads(1)
    loaded = datasets.load(arguments.data)
    torch.manual_seed(arguments.seed)  # the same weights everywhere
    model = network(loaded.features, len(loaded.classes))
    deltas = ef.compress.Deltas(model) if arguments.exchange == "differences" else None
    torch.manual_seed(arguments.seed + 1 + rank)  # another order of samples everywhere

    x, y = loaded.x_train[rank::ranks], loaded.y_train[rank::ranks]
    target = 2 * F.one_hot(y, len(loaded.classes)).float() - 1  # the range of tanh
    optimizer = torch.optim.SGD(model.parameters(), lr=arguments.lr)
    sent = plain = 0
    for epoch in range(arguments.epochs):
        loss = train_epoch(model, optimizer, x, target, arguments.batch)
        if arguments.exchange == "plain":
            traffic = average_plain(model)
        else:
            traffic = ef.compress.average_parameters(model, floor=arguments.floor, deltas=deltas)
        sent, plain = sent + traffic.sent_bytes, plain + round(traffic.allreduce_bytes)
        if rank == 0:
            correct = accuracy(model, loaded.x_test, loaded.y_test)
            exchanged = f"sent {traffic.sent_bytes:,} bytes, ratio {traffic.ratio:.2f}"
            print(f"epoch {epoch + 1:3d}: loss {loss:.4f}, test accuracy {correct:.4f}, {exchanged}", flush=True)
    if rank == 0:
        ratio = plain / max(sent, 1)
        print(f"in all {sent:,} bytes sent by a process, {plain:,} in float32 all-reduces: ratio {ratio:.2f}")
    dist.destroy_process_group()
    # A thread of gloo that lets go of a tensor while Python is being torn down aborts the process now and then
    # (pytorch/pytorch#179291). All is done: leave without the teardown.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()

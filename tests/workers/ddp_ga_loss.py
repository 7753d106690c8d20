"""One of two ranks: trains a model on half a batch under DDP and checks its gradients against the whole batch.

Usage: ddp_ga_loss.py RANK STORE_FILE
"""

import os
import sys

import torch
import torch.distributed as dist

import effdl_fast as ef

rank, store = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
torch.manual_seed(0)
x, target = torch.randn(8, 5), torch.randint(3, (8,))
model = torch.nn.Linear(5, 3)
whole = torch.nn.Linear(5, 3)
whole.load_state_dict(model.state_dict())
parallel = torch.nn.parallel.DistributedDataParallel(model)
for criterion in (
    ef.nn.ExpGALoss(),
    ef.nn.ExpGALoss(inplace=True),
    ef.nn.Pow3GALoss(),
    ef.nn.LinearGALoss(inplace=True),
):
    model.zero_grad()
    whole.zero_grad()
    half = slice(4 * rank, 4 * rank + 4)
    criterion(parallel(x[half]), target[half]).backward()
    criterion(whole(x), target).backward()
    for ours, expected in zip(model.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, expected.grad)
dist.destroy_process_group()
# DDP still holds the group, so gloo's threads live on; one that lets go of a tensor while the interpreter is being torn
# down aborts the process (pytorch/pytorch#179291). The checks are done: leave without the teardown.
sys.stdout.flush()
os._exit(0)

"""Writes losses.json: what lightly and pytorch-metric-learning compute of `inputs`, with their versions.

In an environment with torch, torchvision, lightly and pytorch-metric-learning: python -m peers, in the folder tests.
"""

import importlib.metadata
import json
import pathlib

import torch
from lightly import loss as lightly
from pytorch_metric_learning import losses as metric_learning

from peers import inputs

found = {}
a, b = map(torch.from_numpy, inputs.views())
labels = torch.from_numpy(inputs.labels())
for temperature in (0.07, 0.5):
    # Its mean over anchors is over those of both views, with all other views as candidates.
    criterion = metric_learning.SupConLoss(temperature=temperature)
    found[f"sup_con {temperature}"] = criterion(torch.cat([a, b]), torch.cat([labels, labels])).item()
found["negative_cosine"] = lightly.NegativeCosineSimilarity()(a, b).item()
crops, queue = (list(map(torch.from_numpy, part)) for part in inputs.scores())
for epsilon in (0.03, 0.05):
    criterion = lightly.SwaVLoss(sinkhorn_epsilon=epsilon)
    found[f"swav {epsilon}"] = criterion(crops[:2], []).item()
    found[f"swav multi-crop {epsilon}"] = criterion(crops[:2], crops[2:]).item()
    found[f"swav queue {epsilon}"] = criterion(crops[:2], crops[2:], queue).item()
names = ("lightly", "pytorch-metric-learning", "torch")
record = {"versions": {name: importlib.metadata.version(name) for name in names}, "losses": found}
(pathlib.Path(__file__).parent / "losses.json").write_text(json.dumps(record, indent=1) + "\n")

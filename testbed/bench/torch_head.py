"""Train the head of a network with PyTorch, over the folder of docs/training.md.

Usage: torch_head.py THREADS, in the job folder. It does what Perigee's own
training does, step by step: the same loss, the same solver, the same rates. So
it is the reference for the time of a step. Samples are taken in their order.
"""

import json
import math
import pathlib
import sys

import numpy
import torch
from torch.nn import functional

POSITIVE_WEIGHT, SIZE_WEIGHT = 8.0, 4.0
BACKGROUND, OBJECT, IGNORED = 0.0, 1.0, 2.0
IGNORE_FROM = 0.5
BOX_FIELDS = 5


def floats(path):
    return torch.from_numpy(numpy.fromfile(path, dtype="<f4"))


class Head(torch.nn.Module):
    """The layers of a head, and what of them is trained."""

    def __init__(self, job, values):
        super().__init__()
        self.job, self.rank = job, job["options"]["rank"]
        self.trained = torch.nn.ParameterDict()
        self.fixed = {}
        generator = torch.Generator().manual_seed(job["options"]["seed"])
        for layer in job["layers"]:
            if layer["kind"] != "convolutional":
                continue
            key, filters, columns = str(layer["layer"]), layer["filters"], layer["columns"]
            bias = values[layer["bias"]:layer["bias"] + filters].clone()
            weights = values[layer["weights"]:layer["weights"] + filters * columns].clone().view(filters, columns)
            self.trained["bias" + key] = torch.nn.Parameter(bias)
            if self.rank == 0:
                self.trained["weights" + key] = torch.nn.Parameter(weights)
                continue
            self.fixed[key] = weights
            self.trained["left" + key] = torch.nn.Parameter(torch.zeros(filters, self.rank))
            self.trained["right" + key] = torch.nn.Parameter(0.01 * torch.randn(self.rank, columns, generator=generator))

    def weights(self, key):
        if self.rank == 0:
            return self.trained["weights" + key]
        return self.fixed[key] + self.trained["left" + key] @ self.trained["right" + key]

    def forward(self, features):
        """Return what the YOLO layers read, by layer."""
        maps = {f["layer"]: m for f, m in zip(self.job["features"], features)}
        outputs = {}
        for layer in self.job["layers"]:
            inputs = [maps[i] for i in layer["from"]]
            x = inputs[0] if len(inputs) == 1 else torch.cat(inputs, 1)
            kind, key = layer["kind"], str(layer["layer"])
            if kind == "convolutional":
                window = (layer["filters"], layer["columns"] // (layer["size"][0] * layer["size"][1]), *layer["size"])
                x = functional.conv2d(x, self.weights(key).view(window), self.trained["bias" + key],
                                      stride=layer["stride"], padding=layer["padding"][:2])
                if layer["activation"] == "leaky":
                    x = functional.leaky_relu(x, 0.1, inplace=True)
            elif kind == "upsample":
                x = functional.interpolate(x, scale_factor=layer["factor"], mode="nearest")
            elif kind == "yolo":
                outputs[layer["layer"]] = x
            elif kind != "route":
                sys.exit(f"layer {layer['layer']} is a {kind} layer, which this program cannot train")
            maps[layer["layer"]] = x
        return outputs

    def values(self):
        """Return all parameters in the order of base.f32."""
        parts = []
        for layer in self.job["layers"]:
            if layer["kind"] == "convolutional":
                key = str(layer["layer"])
                parts += [self.trained["bias" + key].detach(), self.weights(key).detach().reshape(-1)]
        return torch.cat(parts)


def overlap(width, height, other_width, other_height):
    common = min(width, other_width) * min(height, other_height)
    return common / (width * height + other_width * other_height - common)


def assign(job, text):
    """Return the targets of a picture for each YOLO layer: state, x, y, w, h and class."""
    yolos = [layer for layer in job["layers"] if layer["kind"] == "yolo"]
    _, height, width = job["input"]
    targets = [torch.zeros(len(y["anchors"]), 6, *y["shape"][1:]) for y in yolos]
    for line in text.splitlines():
        kind, x, y, w, h = (float(field) for field in line.split())
        cells = [(int(y * t.shape[2]), int(x * t.shape[3])) for t in targets]
        best, answers = -1.0, None
        for target, yolo, (row, column) in zip(targets, yolos, cells):
            for number, anchor in enumerate(yolo["anchors"]):
                share = overlap(*anchor, w * width, h * height)
                if share > best:
                    best, answers = share, (target, number, anchor, row, column)
                if share > IGNORE_FROM and target[number, 0, row, column] == BACKGROUND:
                    target[number, 0, row, column] = IGNORED
        target, number, anchor, row, column = answers
        target[number, :, row, column] = torch.tensor([
            OBJECT, x * target.shape[3] - column, y * target.shape[2] - row,
            math.log(w * width / anchor[0]), math.log(h * height / anchor[1]), kind])
    return targets


def loss(raw, target, classes):
    """Return the loss of a YOLO layer, summed over the batch."""
    batch, anchors, _, rows, columns = target.shape
    raw = raw.view(batch, anchors, BOX_FIELDS + classes, rows, columns)
    state = target[:, :, 0]
    weight = (state != IGNORED) * torch.where(state == OBJECT, POSITIVE_WEIGHT, 1.0)
    entropy = functional.binary_cross_entropy_with_logits
    total = entropy(raw[:, :, 4], (state == OBJECT).float(), weight=weight, reduction="sum")
    objects = (state == OBJECT).nonzero(as_tuple=True)
    at = (objects[0], objects[1], slice(None), objects[2], objects[3])
    found, want = raw[at], target[at]
    kinds = functional.one_hot(want[:, 5].long(), classes).float()
    return (total + entropy(found[:, 0:2], want[:, 1:3], reduction="sum")
            + SIZE_WEIGHT * functional.smooth_l1_loss(found[:, 2:4], want[:, 3:5], reduction="sum")
            + entropy(found[:, BOX_FIELDS:], kinds, reduction="sum"))


def load(job):
    samples = []
    for i in range(job["samples"]["learn"]):
        base = pathlib.Path("learn", f"{i:05d}")
        values = floats(base.with_suffix(".f32"))
        features = []
        for f in job["features"]:
            size = math.prod(f["shape"])
            features.append(values[f["offset"]:f["offset"] + size].view(f["shape"]))
        samples.append((features, assign(job, base.with_suffix(".txt").read_text())))
    return samples


def main():
    torch.set_num_threads(int(sys.argv[1]))
    job = json.loads(pathlib.Path("job.json").read_text())
    options, classes = job["options"], job["classes"]
    head = Head(job, floats("base.f32"))
    samples = load(job)
    solver = torch.optim.Adam(head.parameters(), lr=options["learning_rate"])
    per_epoch = -(-len(samples) // options["batch"])
    steps, step = options["epochs"] * per_epoch, 0
    for epoch in range(1, options["epochs"] + 1):
        for first in range(0, len(samples), options["batch"]):
            batch = samples[first:first + options["batch"]]
            share = step / max(1, steps - 1)
            solver.param_groups[0]["lr"] = options["learning_rate"] + share * (options["final_rate"] - options["learning_rate"])
            outputs = head([torch.stack(maps) for maps in zip(*(s[0] for s in batch))])
            targets = [torch.stack(of) for of in zip(*(s[1] for s in batch))]
            mean = sum(loss(raw, t, classes) for raw, t in zip(outputs.values(), targets)) / len(batch)
            solver.zero_grad()
            mean.backward()
            solver.step()
            step += 1
            print(json.dumps({"epoch": epoch, "epochs": options["epochs"], "step": step, "steps": steps, "loss": mean.item()}), flush=True)
    head.values().numpy().astype("<f4").tofile("head.f32")


main()

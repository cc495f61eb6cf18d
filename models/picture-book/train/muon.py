"""The optimizer: Muon for the matrices inside transformer layers, AdamW for everything else.

Muon replaces a matrix's momentum by the nearest orthogonal matrix (Newton-Schulz iteration), so
that rare directions are learnt as quickly as common ones: K. Jordan and others, 2024.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn

_MUON_PREFIXES = ("vision_blocks.", "text_blocks.")
_MUON_NAMES = ("project1.weight", "project2.weight")
_MUON_MOMENTUM = 0.95
_ADAM_BETAS = (0.9, 0.98)
# The vision tower, which has had a stage of its own, learns more slowly than the decoder.
_VISION_PREFIXES = ("vision_blocks.", "pre_norm.", "post_norm.")
_VISION_NAMES = ("patch", "positions", "cls")
# AdamW's step for a Muon step of 1.
_ADAM_RATE = 0.7
_WEIGHT_DECAY = 0.02
_CLIP = 1.0


def _is_vision(name: str) -> bool:
    return name.startswith(_VISION_PREFIXES) or name in _VISION_NAMES


def _orthogonal(matrices: Tensor, steps: int = 5) -> Tensor:
    """Newton-Schulz: each `[rows, columns]` of a batch with singular values brought near 1."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.mT if tall else x


class Optimizer:
    """Both update rules over one model; state is two tensors a parameter at most.

    All ranks hold all state; only the costly iteration is shared out among them.
    """

    def __init__(self, model: nn.Module, rank: int = 0, ranks: int = 1):
        self.rank, self.ranks = rank, ranks
        self.parameters = dict(model.named_parameters())
        self.momentum = {n: torch.zeros_like(p) for n, p in self.parameters.items()}
        self.square = {}
        self.count = {}
        # (shape, whether of the vision tower) -> names of matrices that are updated as one batch
        self.groups: dict[tuple[tuple[int, ...], bool], list[str]] = {}
        for name, parameter in self.parameters.items():
            inside = name.startswith(_MUON_PREFIXES) and "norm" not in name and "bias" not in name
            if inside or name in _MUON_NAMES:
                group = (tuple(parameter.shape[-2:]), _is_vision(name))
                self.groups.setdefault(group, []).append(name)
            else:
                self.square[name] = torch.zeros_like(parameter)
                self.count[name] = 0

    def state(self) -> dict:
        return {"momentum": self.momentum, "square": self.square, "count": self.count}

    def load(self, state: dict) -> None:
        for name, stored in state["momentum"].items():
            self.momentum[name].copy_(stored)
        for name, stored in state["square"].items():
            self.square[name].copy_(stored)
        self.count.update(state["count"])

    @torch.no_grad()
    def step(self, rate: float, vision_share: float = 1.0) -> None:
        """Updates every parameter that has a gradient, and forgets the gradients."""

        def rate_of(name: str) -> float:
            return rate * vision_share if _is_vision(name) else rate

        for (shape, _), names in self.groups.items():
            names = [n for n in names if self.parameters[n].grad is not None]
            if names:
                self._muon(shape, names, rate_of(names[0]))
        names = [n for n in self.square if self.parameters[n].grad is not None]
        norms = [self.parameters[n].grad.norm() for n in names]
        norm = float(torch.stack(norms).norm()) if norms else 0.0
        for name in names:
            self._adam(name, rate_of(name) * _ADAM_RATE, min(1.0, _CLIP / (norm + 1e-6)))
        for parameter in self.parameters.values():
            parameter.grad = None

    def _muon(self, shape: tuple[int, ...], names: list[str], rate: float) -> None:
        wanted = []
        for name in names:
            gradient = self.parameters[name].grad.view(-1, *shape)
            momentum = self.momentum[name].view(-1, *shape)
            momentum.lerp_(gradient, 1 - _MUON_MOMENTUM)
            wanted.append(gradient.lerp(momentum, _MUON_MOMENTUM))
        sizes = [len(matrices) for matrices in wanted]
        updates = self._shared_orthogonal(torch.cat(wanted)) * (0.2 * max(shape) ** 0.5)
        for name, update in zip(names, updates.split(sizes)):
            parameter = self.parameters[name]
            parameter.mul_(1 - rate * _WEIGHT_DECAY)
            parameter.add_(update.reshape(parameter.shape), alpha=-rate)

    def _shared_orthogonal(self, matrices: Tensor) -> Tensor:
        """Every rank does its part of the batch, then all get all."""
        if self.ranks == 1:
            return _orthogonal(matrices)
        results = torch.zeros_like(matrices)
        mine = slice(self.rank, None, self.ranks)
        if len(matrices) > self.rank:
            results[mine] = _orthogonal(matrices[mine])
        dist.all_reduce(results)
        return results

    def _adam(self, name: str, rate: float, clip: float) -> None:
        parameter, (beta1, beta2) = self.parameters[name], _ADAM_BETAS
        gradient = parameter.grad * clip
        self.count[name] += 1
        self.momentum[name].lerp_(gradient, 1 - beta1)
        self.square[name].lerp_(gradient.square(), 1 - beta2)
        first = self.momentum[name] / (1 - beta1 ** self.count[name])
        second = self.square[name] / (1 - beta2 ** self.count[name])
        parameter.addcdiv_(first, second.sqrt() + 1e-8, value=-rate)

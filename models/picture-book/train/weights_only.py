"""Writes the newest checkpoint's weights alone, in float16: small enough to keep anywhere.

    python weights_only.py FILE

Training goes on from such a file too: copy it to work/checkpoints/<its stage>.pt and run train.py.
The optimizer's state starts at zero then, and finds its feet within a minute.
"""

import os
import sys
from pathlib import Path

import torch

import paths


def main() -> None:
    target = Path(sys.argv[1])
    newest = max(paths.CHECKPOINTS.glob("*.pt"), key=lambda path: path.stat().st_mtime)
    state = torch.load(newest, weights_only=True)
    # A checkpoint that was made here has none.
    state.pop("optimizer", None)
    state["model"] = {name: tensor.half().clone() for name, tensor in state["model"].items()}
    partial = target.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, target)
    megabytes = target.stat().st_size / 1e6
    print(f"{state['stage']} step {state['step']} -> {target}: {megabytes:.1f} MB")


if __name__ == "__main__":
    main()

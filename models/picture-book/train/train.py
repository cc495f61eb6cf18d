"""Trains the picture book: `python train.py`. Stop it at any time; it resumes by itself.

Two single-threaded processes share the gradients: on a busy machine that loses far less to
waiting than one process with two threads does. They compute in bfloat16 and keep float32 weights.
"""

import argparse
import json
import os
import signal
import time
from dataclasses import asdict
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

import batches
import losses
import paths
import progress
import splits
from model import PictureBook, Size, compile_small_parts
from muon import Memory, Optimizer
from scene import PATCH
from stages import BY_NAME, STAGES, Stage

CHECKPOINT_SECONDS = 180
PROGRESS_SECONDS = 240
LOG_SECONDS = 30
WARM_UP_STEPS = 30


def checkpoint_path(stage: Stage):
    return paths.CHECKPOINTS / f"{stage.name}.pt"


def save(model: PictureBook, optimizer: Optimizer, stage: Stage, step: int, seconds: float):
    """Writes a checkpoint so that a reader never sees half of one."""
    path = checkpoint_path(stage)
    partial = path.with_suffix(".partial")
    state = {
        "size": asdict(model.size), "model": model.state_dict(), "optimizer": optimizer.state(),
        "stage": stage.name, "step": step, "seconds": seconds,
    }
    torch.save(state, partial)
    os.replace(partial, path)


def newest(stage: Stage) -> dict | None:
    """The checkpoint of a stage, or else of the stage before it, at step 0."""
    path = checkpoint_path(stage)
    if path.exists():
        return torch.load(path, weights_only=True)
    before = STAGES.index(stage) - 1
    if before < 0:
        return None
    state = newest(STAGES[before])
    if state is not None:
        state.update(step=0, seconds=0.0)
    return state


def wait_while_paused() -> float:
    """Waits as long as the pause file is there; says for how many seconds."""
    start = time.monotonic()
    while paths.PAUSE.exists():
        time.sleep(1)
    return time.monotonic() - start


def rate_at(stage: Stage, step: int, steps: int) -> float:
    rate = stage.first_rate + (stage.last_rate - stage.first_rate) * step / steps
    return rate * min(1.0, (step + 1) / WARM_UP_STEPS)


def make_batch(stage: Stage, step: int, rank: int, ranks: int) -> batches.Batch:
    """The pictures of one step, a pure function of stage, step and rank."""
    first = splits.TRAIN.first_seed + STAGES.index(stage) * splits.SEEDS_PER_STAGE
    first += (step * ranks + rank) * stage.batch
    seeds = list(range(first, first + stage.batch))
    if stage.windows:
        return batches.windows(seeds, stage.grid)
    return batches.pictures(seeds, stage.grid * PATCH)


def forward(model: PictureBook, stage: Stage, batch: batches.Batch):
    """The loss of a batch, and what to report about it."""
    image, cls = losses.see(model, batch)
    parts, scores = losses.patch_losses(model, batch, image)
    dense, listed = sum(parts.values()), losses.cls_loss(model, batch, cls)
    report = {name: float(value.detach()) for name, value in parts.items()}
    report["cls"] = losses.cls_accuracy(model, cls, batch)
    report["patch"] = losses.patch_accuracy(scores, batch)
    if stage.windows:
        return dense + 0.3 * listed, report
    layout = losses.layout_for(model, stage.grid, batch.slots)
    answers = losses.answer_loss(model.text(image, batch.ids, layout), batch.targets, batch.weights)
    report["answer"] = float(answers.detach())
    return answers + stage.dense_weight * dense + 0.15 * listed, report


class Log:
    """One JSON object a line, in the checkpoints' folder and on the screen."""

    def __init__(self, stage: Stage, step: int, seconds: float):
        self.stage, self.reports = stage, []
        self.start, self.from_step, self.before = time.monotonic(), step, seconds
        self.paused = 0.0
        self.last = {"log": self.start, "save": self.start, "progress": self.start}

    @property
    def seconds(self) -> float:
        """Training time of the stage, earlier sittings counted in, pauses not."""
        return self.before + time.monotonic() - self.start - self.paused

    def due(self, what: str, every: float) -> bool:
        if time.monotonic() - self.last[what] < every:
            return False
        self.last[what] = time.monotonic()
        return True

    def write(self, step: int, rate: float, ranks: int, **more) -> None:
        names = self.reports[0].keys() if self.reports else ()
        means = {}
        for name in names:
            values = [r[name] for r in self.reports if r[name] == r[name]]
            means[name] = round(sum(values) / max(1, len(values)), 4)
        self.reports = []
        elapsed = self.seconds - self.before
        speed = (step - self.from_step) * self.stage.batch * ranks / max(elapsed, 1e-9)
        line = {
            "stage": self.stage.name, "step": step, "seconds": round(self.seconds),
            "rate": round(rate, 6), "per_second": round(speed, 2), **means, **more,
        }
        text = json.dumps(line)
        print(text, flush=True)
        with (paths.CHECKPOINTS / "log.jsonl").open("a") as file:
            file.write(text + "\n")


def run_stage(stage: Stage, steps: int, rank: int, ranks: int, memory: Memory) -> None:
    """Trains one stage from its newest checkpoint to its end."""
    state = newest(stage)
    torch.manual_seed(1)
    masters = PictureBook(Size(**state["size"]) if state else Size())
    start = state["model"] if state else {n: p.clone() for n, p in masters.state_dict().items()}
    model = PictureBook(masters.size).bfloat16()
    optimizer = Optimizer(masters, model, memory, ranks)
    step, seconds = 0, 0.0
    if rank == 0:
        masters.load_state_dict(start)
        if state is not None:
            load_optimizer(optimizer, state)
        memory.copies.copy_(memory.masters)
    if state is not None:
        optimizer.count.update(state.get("optimizer", {}).get("count", {}))
        step, seconds = state["step"], state["seconds"]
    wait(ranks)
    if step >= steps:
        return
    log = Log(stage, step, seconds)
    while step < steps:
        log.paused += wait_while_paused()
        loss, report = forward(model, stage, make_batch(stage, step, rank, ranks))
        loss.backward()
        rate = rate_at(stage, step, steps)
        optimizer.step(rank, lambda: wait(ranks), rate, stage.vision_share)
        step += 1
        log.reports.append(report)
        # Rank 0 looks at its clock for all; any rank may have been told to stop.
        look = rank == 0 and not stage.windows and log.due("progress", PROGRESS_SECONDS)
        look, stop = agreed(look, Stop.asked, ranks)
        accuracy = {}
        if look or (step == steps and not stage.windows):
            accuracy = gathered(progress.evaluate(model, stage.grid, rank, ranks), ranks)
        if rank == 0 and (accuracy or step == steps or log.due("log", LOG_SECONDS)):
            log.write(step, rate, ranks, **({"validation": accuracy} if accuracy else {}))
        if rank == 0 and (step == steps or stop or log.due("save", CHECKPOINT_SECONDS)):
            save(masters, optimizer, stage, step, log.seconds)
        if stop:
            raise SystemExit(f"stopped at step {step} of {stage.name}")
    wait(ranks)


def load_optimizer(optimizer: Optimizer, state: dict) -> None:
    """A checkpoint of weights alone leaves the optimizer at its start."""
    if "optimizer" in state:
        optimizer.load(state["optimizer"])


def wait(ranks: int) -> None:
    if ranks > 1:
        dist.barrier()


class Stop:
    """Whether this process was asked to stop: it does so after the step, with a checkpoint."""

    asked = False

    @classmethod
    def ask(cls, *_) -> None:
        cls.asked = True


def agreed(look: bool, stop: bool, ranks: int) -> tuple[bool, bool]:
    """What any rank wants, all do."""
    wishes = torch.tensor([float(look), float(stop)])
    if ranks > 1:
        dist.all_reduce(wishes)
    return bool(wishes[0]), bool(wishes[1])


def gathered(counts: dict[str, tuple[int, int]], ranks: int) -> dict[str, float]:
    """Accuracies by kind over all ranks."""
    everyone = [counts]
    if ranks > 1:
        everyone = [None] * ranks
        dist.all_gather_object(everyone, counts)
    kinds = sorted({kind for one in everyone for kind in one})
    total = {}
    for kind in kinds:
        right = sum(one.get(kind, (0, 0))[0] for one in everyone)
        asked = sum(one.get(kind, (0, 0))[1] for one in everyone)
        total[kind] = round(right / asked, 3)
    return total


def run_rank(
    rank: int, ranks: int, chosen: list[tuple[str, int]], meeting: str, memory: Memory
) -> None:
    torch.set_num_threads(1)
    compile_small_parts()
    signal.signal(signal.SIGTERM, Stop.ask)
    if ranks > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{meeting}", rank=rank, world_size=ranks,
            timeout=timedelta(days=7),
        )
    for name, steps in chosen:
        run_stage(BY_NAME[name], steps, rank, ranks, memory)
    if ranks > 1:
        dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stage", choices=BY_NAME, help="only this stage")
    parser.add_argument("--steps", type=int, help="its length, if other than in stages.py")
    parser.add_argument("--ranks", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    chosen = [(stage.name, stage.steps) for stage in STAGES]
    if options.stage:
        chosen = [(options.stage, options.steps or BY_NAME[options.stage].steps)]
    paths.CHECKPOINTS.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    meeting = paths.CHECKPOINTS / f"ranks-{os.getpid()}"
    for left in paths.CHECKPOINTS.glob("ranks-*"):
        left.unlink()
    memory = Memory(sum(p.numel() for p in PictureBook().parameters()), options.ranks)
    arguments = (options.ranks, chosen, str(meeting), memory)
    multiprocessing.spawn(run_rank, arguments, nprocs=options.ranks)
    meeting.unlink(missing_ok=True)


if __name__ == "__main__":
    main()

"""PyTorch: a process a device, by `DistributedDataParallel` (DDP) and torchrun."""

import atexit
import inspect
import os

import keras
import numpy as np
from keras import tree

from keras_lc.distribution.distribution import Distribution, batch_statistics
from keras_lc.keras_internals import has_own_ddp


class TorchProcesses(Distribution):
    def __init__(self, kind: str):
        import torch
        import torch.distributed

        if not torch.distributed.is_initialized():
            _join()
        self.processes = self.replicas = torch.distributed.get_world_size()
        self.process = torch.distributed.get_rank()

    def prepare(self, model: keras.Model) -> None:
        super().prepare(model)
        # Keras 3.16 has DDP in its own steps, and adds up metrics itself.
        if not has_own_ddp(model):
            train_step, metrics_result = _train_step(model), _metrics_result(model)
            # Past Keras, which would track what they hold, and past PyTorch, likewise.
            object.__setattr__(model, "train_step", train_step)
            object.__setattr__(model, "get_metrics_result", metrics_result)
        object.__setattr__(model, "train_step", _with_equal_statistics(model))
        # What was compiled before holds the steps as they were.
        model.train_function = model.test_function = None

    def _gather(self, numbers):
        import torch

        everyones = [None] * self.processes
        torch.distributed.all_gather_object(everyones, numbers)
        return np.stack(everyones)


def _join():
    import torch

    if "LOCAL_RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        raise ValueError(
            "Under PyTorch each device has a process of its own, started by torchrun: "
            "`torchrun --nproc-per-node=2 -m recipes.train --distribute data …`."
        )
    gpus, local_rank = torch.cuda.device_count(), int(os.environ["LOCAL_RANK"])
    if gpus and local_rank >= gpus:
        raise ValueError(
            f"torchrun started a process {local_rank} on a machine with {gpus} GPUs. Pass "
            f"--nproc-per-node={gpus}."
        )
    if gpus:
        torch.cuda.set_device(local_rank)
    torch.distributed.init_process_group("nccl" if gpus else "gloo")
    atexit.register(torch.distributed.destroy_process_group)


def _train_step(model):
    """Keras' own training step, but through DDP, which averages the gradients."""
    import torch
    from torch.nn.parallel import DistributedDataParallel

    # The gradients are DDP's buffers themselves, and not held twice.
    replica = DistributedDataParallel(model, gradient_as_bucket_view=True)

    in_call, in_loss = _in_training(model.call), _in_training(model.compute_loss)

    def train_step(data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        y_pred = replica(x, **in_call)
        model.zero_grad()
        loss = model.compute_loss(x, y, y_pred, sample_weight, **in_loss)
        # The mean loss, which is the first of the metrics.
        model.metrics[0].update_state(loss, sample_weight=tree.flatten(x)[0].shape[0])
        model.optimizer.scale_loss(loss).backward()
        variables = model.trainable_weights
        with torch.no_grad():
            model.optimizer.apply([v.value.grad for v in variables], variables)
        return model.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    return train_step


def _in_training(method):
    """The flag that says so, for a method that takes it: a subclass' own may not."""
    return {"training": True} if "training" in inspect.signature(method).parameters else {}


def _metrics_result(model):
    """Keras' own results, of the sums over all processes."""
    import torch

    own_result = model.get_metrics_result

    def get_metrics_result():
        variables = model.metrics_variables
        with torch.no_grad():
            sums = [v.value.clone() for v in variables]
            for value in sums:
                torch.distributed.all_reduce(value)
        with keras.StatelessScope(state_mapping=list(zip(variables, sums, strict=True))):
            results = own_result()
        # Not the tensors of the scope, which is over.
        return tree.map_structure(lambda x: x.clone() if torch.is_tensor(x) else x, results)

    return get_metrics_result


def _with_equal_statistics(model):
    """A training step after which batch normalization has the mean of all processes' statistics.

    So all processes hold the same model, and any of them may evaluate or save it.
    """
    import torch

    own_step = model.train_step
    statistics = batch_statistics(model)
    if not statistics:
        return own_step

    def train_step(data):
        results = own_step(data)
        with torch.no_grad():
            values = [v.value for v in statistics]
            flat = torch.cat([value.ravel() for value in values])
            torch.distributed.all_reduce(flat)
            flat /= torch.distributed.get_world_size()
            for value, mean in zip(values, flat.split([v.numel() for v in values]), strict=True):
                value.copy_(mean.view_as(value))
        return results

    return train_step

"""PyTorch: one process per device, with `DistributedDataParallel` (DDP) and torchrun."""

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
        # Keras 3.16 uses DDP in its own steps, and sums the metrics itself.
        if not has_own_ddp(model):
            train_step, metrics_result = _train_step(model), _metrics_result(model)
            # With `object.__setattr__`, because Keras and PyTorch would track their contents.
            object.__setattr__(model, "train_step", train_step)
            object.__setattr__(model, "get_metrics_result", metrics_result)
        object.__setattr__(model, "train_step", _with_equal_statistics(model))
        # Already compiled functions would contain the old steps.
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
            "Under PyTorch, each device needs its own process. Start the program with torchrun: "
            "`torchrun --nproc-per-node=2 -m recipes.train --distribute data …`."
        )
    gpus, local_rank = torch.cuda.device_count(), int(os.environ["LOCAL_RANK"])
    if gpus and local_rank >= gpus:
        raise ValueError(
            f"torchrun started more processes than this machine has GPUs ({gpus}). Pass "
            f"--nproc-per-node={gpus}. Received: LOCAL_RANK={local_rank}"
        )
    if gpus:
        torch.cuda.set_device(local_rank)
    torch.distributed.init_process_group("nccl" if gpus else "gloo")
    atexit.register(torch.distributed.destroy_process_group)


def _train_step(model):
    """Returns Keras' training step, but with DDP. DDP averages the gradients."""
    import torch
    from torch.nn.parallel import DistributedDataParallel

    # The gradients use DDP's buffers, so they are not stored twice.
    replica = DistributedDataParallel(model, gradient_as_bucket_view=True)

    in_call, in_loss = _in_training(model.call), _in_training(model.compute_loss)

    def train_step(data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        y_pred = replica(x, **in_call)
        model.zero_grad()
        loss = model.compute_loss(x, y, y_pred, sample_weight, **in_loss)
        # The first metric is the mean loss.
        model.metrics[0].update_state(loss, sample_weight=tree.flatten(x)[0].shape[0])
        model.optimizer.scale_loss(loss).backward()
        variables = model.trainable_weights
        with torch.no_grad():
            model.optimizer.apply([v.value.grad for v in variables], variables)
        return model.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    return train_step


def _in_training(method):
    """Returns `training=True` if the method takes it. A subclass' method may not take it."""
    return {"training": True} if "training" in inspect.signature(method).parameters else {}


def _metrics_result(model):
    """Returns Keras' own results, computed from sums over all processes."""
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
        # Copies, because the scope of these tensors has ended.
        return tree.map_structure(lambda x: x.clone() if torch.is_tensor(x) else x, results)

    return get_metrics_result


def _with_equal_statistics(model):
    """Returns a training step that averages batch normalization's statistics over processes.

    Then all processes hold the same model, and each of them can evaluate or save it.
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

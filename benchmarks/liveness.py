"""Which feature maps a training step holds at the same time."""

import collections
import math

import keras

_FLOAT = 4


def peak_of_step(
    plain: keras.Model,
    parts: dict,
    batch_size: int,
    activation_bytes: int,
    all_gradients: bool,
    eager: bool = False,
    kernel_copies: int = 2,
) -> dict[str, int]:
    """Follows a step forward and back through a network, and finds its peak memory.

    The forward pass keeps tensors for the backward pass: the inputs of convolutions, batch
    normalizations, pools and linear layers, and the outputs of activations and max-pools. Other
    feature maps live until they have been used. The backward pass goes through the layers in
    reverse. At each layer, it holds the gradients of the layer's output and input. Then it drops
    the tensors that the layer kept.

    Args:
        plain: A Functional `keras.Model`, each layer called once.
        parts: Dict from the names of the layers to `benchmarks.memory_plan.Numbers`.
        batch_size: Integer.
        activation_bytes: Integer, the bytes of one number in a feature map.
        all_gradients: Boolean, whether gradients of variables live until the end of the step.
        eager: Boolean, whether each operation keeps its own tensors, as under PyTorch. A batch
            normalization then also keeps the difference to the mean, and a convolution its input
            in another layout. Keras also holds the output of each layer until the last layer has
            returned. The gradient of a normalization's input comes in three parts, through mean,
            variance and result.
        kernel_copies: Integer, the number of additional copies of each kernel in a step:
            transposed for the gradient of the input, and as the gradient of a product of basis and
            combination.

    Returns:
        A dict of bytes: the `peak` without the state that lives between steps, the `activations`
        for the backward pass, and the `workspace`: kernels that are computed, rounded or
        transposed, and their gradients.
    """
    layers = [layer for layer in plain.layers if not isinstance(layer, keras.layers.InputLayer)]
    sizes, users = {}, collections.Counter()
    for layer in layers:
        for tensor in (*_inputs(layer), layer.output):
            sizes[id(tensor)] = activation_bytes * batch_size * math.prod(tensor.shape[1:])
        users.update(id(tensor) for tensor in _inputs(layer))
    # Images come as bytes.
    images = [id(tensor) for tensor in plain.inputs]
    for image in images:
        sizes[image] = batch_size * math.prod(plain.inputs[images.index(image)].shape[1:])
    kept = {layer.name: [id(t) for t in _kept(layer)] for layer in layers}
    keepers = collections.Counter(tensor for tensors in kept.values() for tensor in tensors)
    between = {
        layer.name: activation_bytes * batch_size * _between(layer, parts[layer.name])
        for layer in layers
    }
    # Tensors that only the layer's own gradient needs, besides the feature maps between layers.
    private = dict(between)
    if eager:
        for layer in layers:
            if isinstance(layer, keras.layers.BatchNormalization | keras.layers.Conv2D):
                private[layer.name] += sum(sizes[id(t)] for t in _inputs(layer))
    kernels = {
        name: _FLOAT * (part.product + kernel_copies * part.kernel)
        + (activation_bytes < _FLOAT) * activation_bytes * part.kernel
        for name, part in parts.items()
    }
    workspace, peak = sum(kernels.values()), 0

    live = dict.fromkeys(images, None)
    held = workspace
    used = collections.Counter()

    def unneeded(tensor):
        return 0 < users[tensor] == used[tensor] and not keepers[tensor] and tensor not in images

    for layer in layers:
        live[id(layer.output)] = None
        held += private[layer.name]
        peak = max(peak, held + sum(sizes[t] for t in live))
        entering = [id(tensor) for tensor in _inputs(layer)]
        used.update(entering)
        if not eager:
            live = {t: None for t in live if t not in entering or not unneeded(t)}
    live = {t: None for t in live if not unneeded(t)}
    activations = sum(sizes[t] for t in live) + sum(private.values())

    # Tensors before the first trained variable need no gradient.
    needed = _from_first_trained(layers, parts)
    gradients, of_variables = {id(plain.outputs[0]): None}, 0
    for layer in reversed(layers):
        own = _FLOAT * parts[layer.name].trained
        entering = [id(t) for t in _inputs(layer) if id(t) in needed]
        # If a feature map was used twice, the second gradient is added to the first.
        new = sum(sizes[t] for t in entering)
        computing = between[layer.name] + _FLOAT * parts[layer.name].product
        if eager and isinstance(layer, keras.layers.BatchNormalization):
            computing += 2 * new
        now = sum(sizes[t] for t in live) + sum(sizes[t] for t in gradients) + held
        peak = max(peak, now + new + own + of_variables + computing)
        gradients |= dict.fromkeys(entering)
        gradients.pop(id(layer.output), None)
        if all_gradients:
            of_variables += own
        held -= private[layer.name]
        for tensor in kept[layer.name]:
            keepers[tensor] -= 1
            if not keepers[tensor] and tensor not in images:
                live.pop(tensor, None)
    return {"peak": peak, "activations": activations, "workspace": workspace}


def _inputs(layer):
    return layer.input if isinstance(layer.input, list) else [layer.input]


def _kept(layer):
    if isinstance(layer, keras.layers.ReLU):
        return [layer.output]
    if isinstance(layer, keras.layers.MaxPooling2D):
        return [*_inputs(layer), layer.output]
    linear = (
        keras.layers.Add,
        keras.layers.ZeroPadding2D,
        keras.layers.AveragePooling2D,
        keras.layers.GlobalAveragePooling2D,
        keras.layers.Normalization,
    )
    return [] if isinstance(layer, linear) else _inputs(layer)


def _between(layer, part):
    """Returns the numbers of one image in the feature map between a layer's two convolutions."""
    if not part.channels_between:
        return 0
    axis = -1 if layer.data_format == "channels_last" else 1
    return math.prod(layer.output.shape[1:]) // layer.output.shape[axis] * part.channels_between


def _from_first_trained(layers, parts):
    needed = set()
    for layer in layers:
        if parts[layer.name].trained or any(id(t) in needed for t in _inputs(layer)):
            needed.add(id(layer.output))
    return needed

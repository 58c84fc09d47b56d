"""Features by onnxruntime, of a graph as torch's exporter writes it: see `serving`."""

import inputs
import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper


class _Graph:
    """Nodes and weights that grow one by one."""

    def __init__(self, weights):
        self.nodes, self.weights = [], weights

    def add(self, kind, *names, **attributes):
        """A node; returns the name of its output."""
        output = f"{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [output], **attributes))
        return output

    def convolution(self, x, name, norm, stride):
        """A convolution and its batch norm."""
        side = self.weights[f"{name}.weight"].shape[-1]
        pads = [side // 2] * 4
        x = self.add("Conv", x, f"{name}.weight", strides=[stride] * 2, pads=pads, kernel_shape=[side] * 2)
        parts = [f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        return self.add("BatchNormalization", x, *parts, epsilon=1e-5)


def _resnet(encoder, small, shape):
    graph = _Graph(inputs.resnet(encoder, small))
    x = graph.add("Relu", graph.convolution("images", "conv1", "bn1", 1 if small else 2))
    if not small:
        x = graph.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    bottleneck = encoder == "resnet50"
    for group, depth in enumerate(inputs.DEPTHS[encoder], start=1):
        for index in range(depth):
            place = f"layer{group}.{index}"
            stride = 2 if group > 1 and index == 0 else 1
            strides = (1, stride, 1) if bottleneck else (stride, 1)
            y = x
            for number, each in enumerate(strides, start=1):
                y = graph.convolution(y, f"{place}.conv{number}", f"{place}.bn{number}", each)
                y = graph.add("Relu", y) if number < len(strides) else y
            if f"{place}.downsample.0.weight" in graph.weights:
                x = graph.convolution(x, f"{place}.downsample.0", f"{place}.downsample.1", stride)
            x = graph.add("Relu", graph.add("Add", y, x))
    features = graph.add("Flatten", graph.add("GlobalAveragePool", x))
    made = helper.make_graph(
        graph.nodes,
        encoder,
        [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(features, onnx.TensorProto.FLOAT, [shape[0], "F"])],
        [numpy_helper.from_array(value, name) for name, value in graph.weights.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def session(encoder, size, batch):
    """A session on the CPU with all optimizations, which is the default."""
    images = np.ascontiguousarray((inputs.images(batch, size).astype("float32") / 255).transpose(0, 3, 1, 2))
    made = onnxruntime.InferenceSession(
        _resnet(encoder, size < 64, list(images.shape)), providers=["CPUExecutionProvider"]
    )

    def check(features):
        return [*features[0, :4], features.mean(), np.linalg.norm(features) / len(features)]

    return lambda: made.run(None, {"images": images})[0], check

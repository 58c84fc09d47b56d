"""Loads SavedModels, after looking through the operations that they would execute.

A SavedModel is a program. TensorFlow runs whatever its graph says, and some operations read and write files, call
Python or talk to other machines.
"""

import os
import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

# TensorFlow marks operations with effects as stateful; these have none outside the model: variables, calls, control
# flow, random numbers, tables in memory.
_HARMLESS = re.compile(
    r"Assert|VarHandleOp|VarIsInitializedOp|DisableCopyOnRead|(Read|Assign|AssignAdd|AssignSub|Destroy)VariableOp|"
    r"DestroyResourceOp|Resource(Gather|GatherNd|ScatterUpdate|ScatterAdd)|"
    r"StatefulPartitionedCall|PartitionedCall|If|While|Case|"
    r"RandomUniform|RandomUniformInt|RandomStandardNormal|TruncatedNormal|RandomShuffle|Multinomial|"
    r"StatefulUniform\w*|StatefulStandardNormal\w*|StatefulTruncatedNormal|RngSkip|RngReadAndSkip|"
    r"(Mutable)?(Dense)?HashTable(OfTensors)?V2|LookupTable(Find|Size|Import|Insert)V2|InitializeTableV2"
)
# Without a mark, and with effects nevertheless.
_HARMFUL = re.compile(r"\w*(File|PyFunc|Dataset|Iterator|Reader|CustomCall|Debug|Summary|Checkpoint)\w*|ImmutableConst")
_SAVER = {"SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename"}  # within the functions that save and restore

_trusted: set[pathlib.Path] = set()


def trust(folder: str | os.PathLike) -> None:
    """Lets `load` load whatever lies in or below a folder, in this process."""
    _trusted.add(pathlib.Path(folder).expanduser().resolve())


def load(folder: str | os.PathLike) -> Any:
    """Loads a SavedModel if it only computes.

    Raises:
        ValueError: the graph has operations with effects outside of the model, and the folder is not trusted.
    """
    path = pathlib.Path(folder).expanduser().resolve()
    if not _trusted.intersection((path, *path.parents)):
        check(path)
    return tf.saved_model.load(str(path))


def check(folder: pathlib.Path) -> None:
    """Raises ValueError if a SavedModel has operations with effects outside of the model."""
    model = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    graphs = model.meta_graphs
    # Models of TensorFlow 1 restore themselves by their saver; the variables of others are restored without it.
    spared = _SAVER if len(graphs) == 1 and graphs[0].HasField("object_graph_def") else set()
    found = sorted({operation for graph in graphs for operation in _effects(graph, spared)})
    if found:
        raise ValueError(
            f"load: expected a SavedModel that only computes. Received: {folder} with the operations "
            f"{', '.join(found)}, which may touch files, processes or the network; --trust executes them."
        )


def _effects(graph: Any, spared: Iterable[str]) -> Iterator[str]:
    """Yields the operations with effects in a meta graph, less those spared in what its saver alone uses."""
    functions = {function.signature.name: function.node_def for function in graph.graph_def.library.function}
    saver = graph.saver_def
    outputs = (saver.filename_tensor_name, saver.save_tensor_name, saver.restore_op_name)
    names = {name.split(":")[0] for name in outputs}
    saving = _called([node for node in graph.graph_def.node if node.name in names], functions)
    others = [node for node in graph.graph_def.node if node.name not in names]
    for name in functions.keys() - saving | functions.keys() & graph.object_graph_def.concrete_functions.keys():
        others.extend(functions[name])
    used = _called(others, functions) | graph.object_graph_def.concrete_functions.keys()
    yield from _named(graph.graph_def.node, ())
    for name, nodes in functions.items():
        yield from _named(nodes, spared if name in saving - used else ())


def _named(nodes: Iterable, allowed: Iterable[str]) -> Iterator[str]:
    for node in nodes:
        definition = op_def_registry.get(node.op)
        is_effect = definition is None or definition.is_stateful or _HARMFUL.fullmatch(node.op)
        if node.op not in allowed and is_effect and not _HARMLESS.fullmatch(node.op):
            yield node.op


def _called(nodes: Iterable, functions: Any) -> set[str]:
    """Returns the names of the functions that nodes call, and that those call."""
    found: set[str] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        for value in node.attr.values():
            for name in [value.func.name, *(function.name for function in value.list.func)]:
                if name in functions and name not in found:
                    found.add(name)
                    waiting.extend(functions[name])
    return found

"""TensorFlow Serving's gRPC API: PredictionService, ModelService, and the health service of gRPC."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf import message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from zoo.serving import access, messages_pb2, predictor, servable, status, tensors, turns

_PREDICTION, _MODEL = "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"
_MOST_FIELDS = 1000  # of a request, each an input or the name of an output
_FIELD, _MAP_TYPE = "signature_def", "type.googleapis.com/tensorflow.serving.SignatureDefMap"


def _spec(request: Any) -> tuple[str, int | None, str | None]:
    """Returns name, version and label of the `ModelSpec` of a request."""
    if not request.HasField("model_spec"):
        raise status.error("gRPC", "a model_spec", "none")
    spec = request.model_spec
    return spec.name, spec.version.value if spec.HasField("version") else None, spec.version_label or None


class Services:
    """The methods of the services; each raises ServingError.

    Args:
        predicts: answers the predictions.
    """

    def __init__(self, predicts: predictor.Predictor):
        self.predictor = predicts

    async def predict(self, request: Any) -> Any:
        """Answers `PredictionService.Predict`."""
        with self.predictor.watch("GRPC") as seen:
            spec = _spec(request)
            seen["model"] = spec[0][:200]
            found = self.predictor.repository.find(*spec)
            # The code differs from that over HTTP, in TensorFlow Serving, too.
            signature = found.signature(request.model_spec.signature_name, "FAILED_PRECONDITION")
            seen.update(version=found.version, signature=signature.name)
            servable.check_names(signature, request.inputs)
            protos, size = {}, 0
            for name, data in request.inputs.items():
                protos[name] = tensors.parsed(data, name)
                dtype, shape = tensors.dtype_of(protos[name]), tensors.shape_of(protos[name])
                size += servable.check_kind(signature, name, dtype, shape, self.predictor.limits)
            # A few bytes of a request may stand for many.
            with self.predictor.room.hold(size):
                async with self.predictor.deadline():
                    inputs = await self.predictor.read(_arrays(protos), size)
                    seen["rows"] = predictor.rows(inputs)
                    outputs = await self.predictor.predict(found, signature, inputs, tuple(request.output_filter))
            answer = messages_pb2.PredictResponse(
                outputs={name: tensors.to_bytes(array) for name, array in outputs.items()}
            )
            _answer_spec(answer, found).signature_name = signature.name
            return answer

    async def metadata(self, request: Any) -> Any:
        """Answers `PredictionService.GetModelMetadata`."""
        if set(request.metadata_field) != {_FIELD}:
            raise status.error("gRPC", f"metadata_field={_FIELD}", list(request.metadata_field)[:10])
        found = self.predictor.repository.find(*_spec(request))
        definitions = {name: definition.SerializeToString() for name, definition in found.definitions.items()}
        answer = messages_pb2.GetModelMetadataResponse()
        _answer_spec(answer, found)
        answer.metadata[_FIELD].type_url = _MAP_TYPE
        answer.metadata[_FIELD].value = messages_pb2.SignatureDefMap(signature_def=definitions).SerializeToString()
        return answer

    async def status(self, request: Any) -> Any:
        """Answers `ModelService.GetModelStatus`."""
        answer = messages_pb2.GetModelStatusResponse()
        for version, state in self.predictor.repository.states(*_spec(request)).items():
            entry = answer.model_version_status.add(version=version, state=state.state)
            entry.status.error_code = status.CODES.index(state.code)
            entry.status.error_message = state.message
        return answer


def _arrays(protos: dict[str, Any]) -> turns.Steps[dict[str, Any]]:
    """Returns tensors by name as arrays."""
    arrays = {}
    for name, proto in protos.items():
        arrays[name] = tensors.to_array(proto, name)
        yield
    return arrays


def _answer_spec(answer: Any, found: servable.Servable) -> Any:
    answer.model_spec.name = found.name
    answer.model_spec.version.value = found.version
    return answer.model_spec


class _Gate(grpc.aio.ServerInterceptor):
    """Refuses calls without the token, but for health checks."""

    def __init__(self, allowed: access.Access):
        self._access = allowed
        # As if the method took a stream: the message of a call that is refused is not read.
        self._refusal = grpc.stream_stream_rpc_method_handler(self._refuse)

    async def intercept_service(self, continuation: Callable, handler_call_details: Any) -> Any:
        """Returns the handler of a call."""
        header = dict(handler_call_details.invocation_metadata).get("authorization")
        if handler_call_details.method.startswith("/grpc.health.v1.Health/") or self._access.admits(header):
            return await continuation(handler_call_details)
        return self._refusal

    async def _refuse(self, messages: Any, context: Any) -> None:
        error = status.error("gRPC", "the metadata authorization: Bearer TOKEN", "none, or another token")
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, error.message)


def _handler(function: Callable[[Any], Awaitable[Any]], kind: Any, predicts: predictor.Predictor) -> Any:
    """Returns a method for gRPC, which hands on bytes: a message that is none gets an answer, too."""

    async def answer(data: bytes, context: Any) -> bytes:
        try:
            tensors.fields(data, "gRPC", _MOST_FIELDS)
            with predicts.room.hold(len(data)):
                return (await function(kind.FromString(data))).SerializeToString()
        except status.ServingError as error:
            code, text = error.code, error.message
        except message.DecodeError as error:
            code, text = "INVALID_ARGUMENT", str(error)[:200]
        return await context.abort(getattr(grpc.StatusCode, code), text)

    return grpc.unary_unary_rpc_method_handler(answer)


def server(predicts: predictor.Predictor, allowed: access.Access) -> tuple[Any, Any]:
    """Returns a `grpc.aio.Server` without a port yet, and its health service.

    Args:
        predicts: answers the predictions.
        allowed: who may ask.
    """
    bounds, services = predicts.limits, Services(predicts)
    made = grpc.aio.server(
        interceptors=[_Gate(allowed)],
        options=[
            ("grpc.max_receive_message_length", bounds.body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # a port in use is an error, not half of the requests
            ("grpc.max_concurrent_streams", bounds.rpcs),
        ],
        maximum_concurrent_rpcs=bounds.rpcs,
    )
    methods = {
        _PREDICTION: {
            "Predict": (services.predict, messages_pb2.PredictRequest),
            "GetModelMetadata": (services.metadata, messages_pb2.GetModelMetadataRequest),
        },
        _MODEL: {"GetModelStatus": (services.status, messages_pb2.GetModelStatusRequest)},
    }
    for service, named in methods.items():
        handlers = {name: _handler(function, kind, predicts) for name, (function, kind) in named.items()}
        made.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    healthy = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, made)
    return made, healthy


def listen(made: Any, address: str, allowed: access.Access) -> int:
    """Returns the port that a server opened at an address; RuntimeError where it is taken."""
    if not (allowed.certificate and allowed.key):
        return made.add_insecure_port(address)
    pair = allowed.key.read_bytes(), allowed.certificate.read_bytes()
    return made.add_secure_port(address, grpc.ssl_server_credentials([pair]))


async def set_serving(healthy: Any) -> None:
    """Tells the health service that all services answer."""
    for name in ("", _PREDICTION):
        await healthy.set(name, health_pb2.HealthCheckResponse.SERVING)

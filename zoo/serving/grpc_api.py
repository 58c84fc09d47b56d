"""TensorFlow Serving's gRPC services, for any client that knows them: PredictionService, ModelService, and health."""

import logging

import grpc
from google.protobuf import message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from zoo.serving import messages_pb2, predictor, servable, status, tensors

_ANY = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
_FIELD = "signature_def"
_LOG = logging.getLogger("zoo.serving")


def _spec(request):
    """Name, version and label of the `ModelSpec` of a request."""
    if not request.HasField("model_spec"):
        raise status.ServingError("INVALID_ARGUMENT", "Missing ModelSpec")
    spec = request.model_spec
    return spec.name, spec.version.value if spec.HasField("version") else None, spec.version_label or None


def _signature(found, name):
    """A signature of a servable; where there is none, TensorFlow Serving has another code here than over HTTP."""
    try:
        return found.signature(name)
    except status.ServingError:
        known = ", ".join(found.signatures)
        raise status.ServingError(
            "FAILED_PRECONDITION", f'Serving signature key "{name}" not found. Known: {known}.'
        ) from None


class Services:
    """The methods, with the same answers as `rest.App`.

    Args:
        predicts: `predictor.Predictor`.
    """

    def __init__(self, predicts):
        self.predictor = predicts

    async def predict(self, request, context):
        """`PredictionService.Predict`."""
        watch, told = predictor.Watch(self.predictor, "GRPC"), {}
        code = "CANCELLED"
        try:
            answer = await self._predict(request, told)
            code = "OK"
            return answer
        except status.ServingError as error:
            code = error.code
            await context.abort(getattr(grpc.StatusCode, error.code), error.message)
        except Exception as error:
            code = "INTERNAL"
            _LOG.exception("failed", extra={"fields": {"api": "GRPC"}})
            await context.abort(grpc.StatusCode.INTERNAL, status.unexpected(error).message)
        finally:
            ms = watch.done(told.get("model", ""), code)
            _LOG.info("request", extra={"fields": {"api": "GRPC", "status": code, "ms": ms, **told}})

    async def _predict(self, request, told):
        spec = _spec(request)
        told["model"] = spec[0][:200]
        found = self.predictor.repository.find(*spec)
        signature = _signature(found, request.model_spec.signature_name)
        told.update(version=found.version, signature=signature.name)
        servable.check_names(signature, request.inputs)
        protos, size = {}, 0
        for name, data in request.inputs.items():
            protos[name] = tensors.parsed(data, name)
            dtype, shape = tensors.dtype_of(protos[name]), tensors.shape_of(protos[name])
            size += servable.check_kind(signature, name, dtype, shape, self.predictor.limits)
        # A few bytes of a request may ask for many.
        self.predictor.room.take(size)
        try:
            inputs = {name: tensors.to_array(proto, name) for name, proto in protos.items()}
            told["rows"] = predictor.rows(inputs)
            outputs = await self.predictor.predict(found, signature, inputs, tuple(request.output_filter))
        finally:
            self.predictor.room.give(size)
        answer = messages_pb2.PredictResponse()
        answer.model_spec.name = found.name
        answer.model_spec.version.value = found.version
        answer.model_spec.signature_name = signature.name
        for name, array in outputs.items():
            answer.outputs[name] = tensors.to_bytes(array)
        return answer

    async def metadata(self, request, context):
        """`PredictionService.GetModelMetadata`."""
        try:
            if not request.metadata_field:
                raise status.ServingError(
                    "INVALID_ARGUMENT", "GetModelMetadataRequest must specify at least one metadata_field"
                )
            for field in request.metadata_field:
                if field != _FIELD:
                    raise status.ServingError("INVALID_ARGUMENT", f"Metadata field {field[:200]} is not supported")
            found = self.predictor.repository.find(*_spec(request))
        except status.ServingError as error:
            await context.abort(getattr(grpc.StatusCode, error.code), error.message)
        answer, definitions = messages_pb2.GetModelMetadataResponse(), messages_pb2.SignatureDefMap()
        answer.model_spec.name = found.name
        answer.model_spec.version.value = found.version
        for name, definition in found.definitions.items():
            definitions.signature_def[name] = definition.SerializeToString()
        answer.metadata[_FIELD].type_url = _ANY
        answer.metadata[_FIELD].value = definitions.SerializeToString()
        return answer

    async def status(self, request, context):
        """`ModelService.GetModelStatus`."""
        try:
            states = self.predictor.repository.states(*_spec(request))
        except status.ServingError as error:
            await context.abort(getattr(grpc.StatusCode, error.code), error.message)
        answer = messages_pb2.GetModelStatusResponse()
        for version, state in states.items():
            entry = answer.model_version_status.add(version=version, state=state.state)
            entry.status.error_code = status.CODES.index(state.code)
            entry.status.error_message = state.message
        return answer


def _method(function, kind, room):
    async def answer(data, context):
        try:
            room.take(len(data))
        except status.ServingError as error:
            await context.abort(getattr(grpc.StatusCode, error.code), error.message)
        try:
            request = kind.FromString(data)
            return (await function(request, context)).SerializeToString()
        except message.DecodeError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error)[:200])
        finally:
            room.give(len(data))

    return grpc.unary_unary_rpc_method_handler(answer)


def server(predicts):
    """A `grpc.aio.Server` without a port yet, and the health service that it tells its state.

    Args:
        predicts: `predictor.Predictor`.
    """
    services = Services(predicts)
    made = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", predicts.limits.body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # a port that is taken is an error, not half of the requests
            ("grpc.max_concurrent_streams", predicts.limits.rpcs),
            ("grpc.max_connection_idle_ms", int(10_000 * predicts.limits.header_seconds)),
        ],
        maximum_concurrent_rpcs=predicts.limits.rpcs,
    )
    room = predicts.room
    prediction = {
        "Predict": _method(services.predict, messages_pb2.PredictRequest, room),
        "GetModelMetadata": _method(services.metadata, messages_pb2.GetModelMetadataRequest, room),
    }
    model = {"GetModelStatus": _method(services.status, messages_pb2.GetModelStatusRequest, room)}
    made.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler("tensorflow.serving.PredictionService", prediction),
            grpc.method_handlers_generic_handler("tensorflow.serving.ModelService", model),
        )
    )
    healthy = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, made)
    return made, healthy


SERVING = health_pb2.HealthCheckResponse.SERVING

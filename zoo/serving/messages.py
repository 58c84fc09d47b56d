"""The messages of TensorFlow Serving's API, declared under names of our own.

They are the same on the wire, and as text files, as the originals (tensorflow_serving/apis and .../config in
https://github.com/tensorflow/serving), whose package asks for a whole second TensorFlow. Only what the zoo uses is
declared. Tensors stand as bytes where the originals embed a message, which on the wire is the same; `tensors` reads and
writes them.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "zoo.serving"
_SCALARS = {
    "string": _FIELD.TYPE_STRING,
    "bytes": _FIELD.TYPE_BYTES,
    "bool": _FIELD.TYPE_BOOL,
    "int32": _FIELD.TYPE_INT32,
    "int64": _FIELD.TYPE_INT64,
    "uint32": _FIELD.TYPE_UINT32,
    "uint64": _FIELD.TYPE_UINT64,
    "float": _FIELD.TYPE_FLOAT,
    "double": _FIELD.TYPE_DOUBLE,
}
# Message -> fields `name = number: kind`; `[kind]` is repeated, `{kind}` a map from strings. Enumerations are int32.
_DECLARED = {
    "Int64": "value=1:int64",  # google.protobuf.Int64Value
    "Bool": "value=1:bool",  # google.protobuf.BoolValue
    "Text": "value=1:string",  # google.protobuf.StringValue
    "Any": "type_url=1:string value=2:bytes",  # google.protobuf.Any
    # tensorflow/core/framework
    "Dim": "size=1:int64 name=2:string",
    "TensorShape": "dim=2:[Dim] unknown_rank=3:bool",
    "Tensor": (
        "dtype=1:int32 tensor_shape=2:TensorShape tensor_content=4:bytes half_val=13:[int32] float_val=5:[float] "
        "double_val=6:[double] int_val=7:[int32] string_val=8:[bytes] int64_val=10:[int64] bool_val=11:[bool] "
        "uint32_val=16:[uint32] uint64_val=17:[uint64]"
    ),
    # apis
    "ModelSpec": "name=1:string version=2:Int64 signature_name=3:string version_label=4:string",
    "PredictRequest": "model_spec=1:ModelSpec inputs=2:{bytes} output_filter=3:[string]",
    "PredictResponse": "outputs=1:{bytes} model_spec=2:ModelSpec",
    "GetModelMetadataRequest": "model_spec=1:ModelSpec metadata_field=2:[string]",
    "GetModelMetadataResponse": "model_spec=1:ModelSpec metadata=2:{Any}",
    "SignatureDefMap": "signature_def=1:{bytes}",
    "GetModelStatusRequest": "model_spec=1:ModelSpec",
    "Status": "error_code=1:int32 error_message=2:string",
    "ModelVersionStatus": "version=1:int64 state=2:int32 status=3:Status",
    "GetModelStatusResponse": "model_version_status=1:[ModelVersionStatus]",
    "PredictLog": "request=1:PredictRequest",
    "PredictionLog": "predict_log=6:PredictLog",
    # config
    "Latest": "num_versions=1:uint32",
    "All": "",
    "Specific": "versions=1:[int64]",
    "VersionPolicy": "latest=100:Latest all=101:All specific=102:Specific",
    "ModelConfig": (
        "name=1:string base_path=2:string model_platform=4:string model_version_policy=7:VersionPolicy "
        "version_labels=8:{int64}"
    ),
    "ModelConfigList": "config=1:[ModelConfig]",
    "ModelServerConfig": "model_config_list=1:ModelConfigList",
    "BatchingParameters": (
        "max_batch_size=1:Int64 batch_timeout_micros=2:Int64 max_enqueued_batches=3:Int64 num_batch_threads=4:Int64 "
        "thread_pool_name=5:Text allowed_batch_sizes=6:[int64] pad_variable_length_inputs=7:bool "
        "enable_large_batch_splitting=8:Bool"
    ),
    "PrometheusConfig": "enable=1:bool path=2:string",
    "MonitoringConfig": "prometheus_config=1:PrometheusConfig",
}


# `ModelVersionStatus.State`.
STATES = {"UNKNOWN": 0, "START": 10, "LOADING": 20, "AVAILABLE": 30, "UNLOADING": 40, "END": 50}


def _add_field(message, declared):
    name, _, kind = declared.partition(":")
    name, _, number = name.partition("=")
    field = message.field.add(name=name, number=int(number))
    field.label = _FIELD.LABEL_REPEATED if kind[0] in "[{" else _FIELD.LABEL_OPTIONAL
    if kind[0] == "{":
        camel = "".join(part.capitalize() for part in name.split("_")) + "Entry"
        entry = message.nested_type.add(name=camel)
        entry.options.map_entry = True
        _add_field(entry, "key=1:string")
        _add_field(entry, f"value=2:{kind[1:-1]}")
        kind = f"{message.name}.{camel}"
    kind = kind.strip("[]")
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"


def _declare():
    file = descriptor_pb2.FileDescriptorProto(name="zoo/serving.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _DECLARED.items():
        message = file.message_type.add(name=name)
        for field in fields.split():
            _add_field(message, field)
    # A pool of its own: the originals may be loaded in the same process.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _DECLARED
    }


_CLASSES = _declare()
Tensor = _CLASSES["Tensor"]
PredictRequest = _CLASSES["PredictRequest"]
PredictResponse = _CLASSES["PredictResponse"]
GetModelMetadataRequest = _CLASSES["GetModelMetadataRequest"]
GetModelMetadataResponse = _CLASSES["GetModelMetadataResponse"]
SignatureDefMap = _CLASSES["SignatureDefMap"]
GetModelStatusRequest = _CLASSES["GetModelStatusRequest"]
GetModelStatusResponse = _CLASSES["GetModelStatusResponse"]
PredictionLog = _CLASSES["PredictionLog"]
ModelServerConfig = _CLASSES["ModelServerConfig"]
BatchingParameters = _CLASSES["BatchingParameters"]
MonitoringConfig = _CLASSES["MonitoringConfig"]

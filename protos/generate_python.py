"""A protoc plugin that makes the Python stubs: messages, services and types, all four files per proto.

buf hands over its own descriptors, which keep `json_name`, so that every JSON face of the services spells
field names alike (descriptors of plain protoc drop it).
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import FileDescriptorSet

request = CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
response = CodeGeneratorResponse(supported_features=CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL)
with tempfile.TemporaryDirectory() as folder:
    image, out = Path(folder, "image.binpb"), Path(folder, "out")
    out.mkdir()
    image.write_bytes(FileDescriptorSet(file=request.proto_file).SerializeToString())
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={image}"]
    command += [f"--python_out={out}", f"--grpc_python_out={out}"]
    command += [f"--mypy_out=quiet:{out}", f"--mypy_grpc_out=only_sync,quiet:{out}"]
    subprocess.run([*command, *request.file_to_generate], check=True, stdout=sys.stderr)
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        if "_pb2_grpc" in path.name and "_service_" not in path.name:
            continue  # holds nothing: only files named *_service.proto have services
        response.file.add(name=str(path.relative_to(out)), content=path.read_text())
sys.stdout.buffer.write(response.SerializeToString())

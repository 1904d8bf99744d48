"""Runs a command in a machine of its own, with nothing but Python's gRPC packages.

    pip install grpcio grpcio-tools
    mkdir stubs
    python3 -m grpc_tools.protoc -I proto --python_out=stubs --grpc_python_out=stubs \
        proto/banger/v1/*.proto
    PYTHONPATH=stubs python3 examples/python/job.py SOCKET IMAGE COMMAND [ARGUMENT...]

IMAGE is one that the server has, by its name. The machine has a lease: whatever
becomes of this program, it is gone after an hour.
"""

import queue
import sys
import uuid

import grpc
from google.protobuf import duration_pb2

from banger.v1 import exec_service_pb2 as execs
from banger.v1 import exec_service_pb2_grpc, operation_pb2
from banger.v1 import vm_pb2
from banger.v1 import vm_service_pb2 as vms
from banger.v1 import vm_service_pb2_grpc


def seconds(count):
    return duration_pb2.Duration(seconds=count)


def done(operation):
    """The operation, if it did what was asked."""
    if operation.state != operation_pb2.OPERATION_STATE_SUCCEEDED:
        sys.exit(f"{operation.name}: {operation.failure.message or 'it takes too long'}")
    return operation


def create(machines, image):
    request = vms.CreateVmRequest(
        # made once for the machine that is wanted: sending the same request again, after
        # an error of the connection, never makes a second one
        request_id=str(uuid.uuid4()),
        image=f"images/{image}",
        spec=vm_pb2.VmSpec(lease=vm_pb2.Lease(max_lifetime=seconds(3600))),
        start=True,
        wait=seconds(300),
    )
    return done(machines.CreateVm(request).operation).vm


def run(commands, machine, argv):
    """The command's exit status; its output is passed on."""
    request = execs.CreateExecRequest(
        request_id=str(uuid.uuid4()), vm=machine, argv=argv, without_stdin=True
    )
    name = commands.CreateExec(request).name
    messages = queue.Queue()
    messages.put(execs.AttachExecRequest(attach=execs.Attach(name=name)))
    for message in commands.AttachExec(iter(messages.get, None)):
        if message.HasField("output"):
            is_error = message.output.stream == execs.OUTPUT_STREAM_STDERR
            stream = sys.stderr if is_error else sys.stdout
            stream.buffer.write(message.output.data)
            stream.flush()
        elif message.HasField("exit"):
            messages.put(None)
            how = message.exit.WhichOneof("kind")
            return message.exit.code if how == "code" else 255
    return 255


def main():
    socket, image, *argv = sys.argv[1:]
    # the socket's path is no valid authority of HTTP/2
    options = [("grpc.default_authority", "localhost")]
    with grpc.insecure_channel(f"unix:{socket}", options=options) as channel:
        machines = vm_service_pb2_grpc.VmServiceStub(channel)
        commands = exec_service_pb2_grpc.ExecServiceStub(channel)
        machine = f"vms/{create(machines, image).uid}"
        try:
            return run(commands, machine, argv)
        finally:
            request = vms.DeleteVmRequest(
                request_id=str(uuid.uuid4()),
                name=machine,
                force=True,
                allow_missing=True,
                wait=seconds(60),
            )
            machines.DeleteVm(request)


sys.exit(main())

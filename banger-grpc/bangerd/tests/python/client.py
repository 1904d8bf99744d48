"""A client of bangerd with nothing but Python's own gRPC packages.

Usage: client.py SCENE SOCKET PROTOS STUBS [ARGUMENT...]

The stubs are made from the protos as any user would make them. A scene that goes
as it should ends with the line "done".
"""

import glob
import io
import os
import queue
import sys
import tarfile
import threading
import time
import uuid

import grpc
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_tools import protoc

SCENES = {}


def scene(function):
    SCENES[function.__name__] = function
    return function


def make_stubs(protos, stubs):
    os.makedirs(stubs, exist_ok=True)
    files = sorted(glob.glob(os.path.join(protos, "banger/v1/*.proto")))
    well_known = os.path.join(os.path.dirname(protoc.__file__), "_proto")
    arguments = ["protoc", f"-I{protos}", f"-I{well_known}"]
    arguments += [f"--python_out={stubs}", f"--grpc_python_out={stubs}"]
    status = protoc.main(arguments + files)
    assert status == 0, f"protoc ended with {status}"
    sys.path.insert(0, stubs)


def wait_until_serving(channel):
    """The phases of a start are not of interest."""
    health = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service="")
    for answer in health.Watch(request, timeout=60):
        if answer.status == health_pb2.HealthCheckResponse.SERVING:
            return


@scene
def standard(channel):
    """Reflection, health, and what the server says of itself."""
    from banger.v1 import system_service_pb2, system_service_pb2_grpc

    system = system_service_pb2_grpc.SystemServiceStub(channel)
    info = system.GetServerInfo(system_service_pb2.GetServerInfoRequest(), timeout=10)
    assert info.phase == system_service_pb2.SERVER_PHASE_SERVING, info
    assert info.version and info.limits.max_request_bytes > 0, info

    database = ProtoReflectionDescriptorDatabase(channel)
    listed = set(database.get_services())
    assert set(info.services) <= listed, (info.services, listed)
    assert "grpc.health.v1.Health" in listed, listed
    pool = descriptor_pool.DescriptorPool(database)
    method = pool.FindMethodByName("banger.v1.SystemService.GetServerInfo")
    assert method.output_type.full_name == "banger.v1.GetServerInfoResponse"

    health = health_pb2_grpc.HealthStub(channel)
    for name in ["", *info.services]:
        answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, (name, answer)
    try:
        health.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=10)
        raise AssertionError("health knows a service that is not there")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error


def fresh():
    """The id of a request."""
    return str(uuid.uuid4())


def wait(seconds):
    from google.protobuf import duration_pb2

    return duration_pb2.Duration(seconds=seconds)


def succeeded(answer):
    from banger.v1 import operation_pb2

    operation = answer.operation
    assert operation.state == operation_pb2.OPERATION_STATE_SUCCEEDED, operation
    return operation


def refused(code, reason, call):
    """The call must fail so. The reason stands in the status's details."""
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, error
        details = dict(error.trailing_metadata())["grpc-status-details-bin"]
        assert reason.encode() in details, (reason, details)
        return
    raise AssertionError(f"{reason} was expected")


def prepare(channel, package, reference):
    """A kernel named linux and an image named small."""
    from banger.v1 import image_service_pb2 as images, image_service_pb2_grpc
    from banger.v1 import kernel_service_pb2 as kernels, kernel_service_pb2_grpc

    kernel_service = kernel_service_pb2_grpc.KernelServiceStub(channel)
    request = kernels.ImportKernelRequest(
        request_id=fresh(), source=package, kernel_id="linux", wait=wait(120)
    )
    kernel = succeeded(kernel_service.ImportKernel(request)).kernel
    assert kernel.name == "kernels/linux" and kernel.has_modules, kernel

    image_service = image_service_pb2_grpc.ImageServiceStub(channel)
    request = images.PullImageRequest(
        request_id=fresh(),
        reference=reference,
        image_id="small",
        kernel=kernel.name,
        wait=wait(120),
    )
    pulled = succeeded(image_service.PullImage(request))
    assert pulled.image.name == "images/small", pulled
    return pulled


@scene
def machines(channel, package, reference):
    """From nothing to a machine that runs, and back to nothing."""
    from banger.v1 import image_service_pb2 as images, image_service_pb2_grpc
    from banger.v1 import kernel_service_pb2 as kernels, kernel_service_pb2_grpc
    from banger.v1 import operation_service_pb2 as operations, operation_service_pb2_grpc
    from banger.v1 import vm_pb2, vm_service_pb2 as vms, vm_service_pb2_grpc

    vm_service = vm_service_pb2_grpc.VmServiceStub(channel)
    operation_service = operation_service_pb2_grpc.OperationServiceStub(channel)
    pulled = prepare(channel, package, reference)

    watched = operation_service.WatchOperation(
        operations.WatchOperationRequest(name=pulled.name)
    )
    events = [answer.event for answer in watched]
    numbers = [event.sequence for event in events]
    assert numbers == list(range(1, len(numbers) + 1)), numbers
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[0] == "began" and kinds[-1] == "ended", kinds
    assert "resolved" in kinds, kinds
    assert events[-1].ended.image == pulled.image

    spec = vm_pb2.VmSpec(memory_bytes=256 << 20, labels={"run": "seventeen"})
    create = vms.CreateVmRequest(
        request_id=fresh(),
        image="images/small",
        vm_id="one",
        spec=spec,
        start=True,
        wait=wait(180),
    )
    created = succeeded(vm_service.CreateVm(create))
    vm = created.vm
    assert vm.state == vm_pb2.VM_STATE_RUNNING, vm
    assert vm.create_operation == created.name, vm
    assert dict(vm.spec.labels) == {"run": "seventeen"}, vm
    assert [phase.kind for phase in created.phases], created
    # the same request is the same machine; another one under its id is none
    assert vm_service.CreateVm(create).operation.name == created.name
    create.vm_id = "two"
    refused(
        grpc.StatusCode.ALREADY_EXISTS,
        "REQUEST_ID_REUSED",
        lambda: vm_service.CreateVm(create),
    )
    by_request = f"operations/by-request/{create.request_id}"
    lost = operation_service.GetOperation(operations.GetOperationRequest(name=by_request))
    assert lost.operation.name == created.name

    for number in range(3):
        request = vms.CreateVmRequest(
            request_id=fresh(), image=pulled.image.name, vm_id=f"more-{number}", wait=wait(60)
        )
        succeeded(vm_service.CreateVm(request))
    names, token = [], ""
    while True:
        page = vm_service.ListVms(vms.ListVmsRequest(page_size=3, page_token=token))
        names += [one.name for one in page.vms]
        token = page.next_page_token
        if not token:
            break
    assert names == ["vms/more-0", "vms/more-1", "vms/more-2", "vms/one"], names
    chosen = 'state=RUNNING AND labels.run="seventeen"'
    page = vm_service.ListVms(vms.ListVmsRequest(filter=chosen))
    assert [one.name for one in page.vms] == ["vms/one"], page

    unforced = vm_service.DeleteVm(
        vms.DeleteVmRequest(request_id=fresh(), name="vms/one", wait=wait(60))
    )
    assert unforced.operation.failure.code == grpc.StatusCode.FAILED_PRECONDITION.value[0]
    stop = vms.StopVmRequest(request_id=fresh(), name="vms/one", wait=wait(60))
    stopped = succeeded(vm_service.StopVm(stop)).vm
    assert stopped.state == vm_pb2.VM_STATE_STOPPED, stopped
    start = vms.StartVmRequest(request_id=fresh(), name=f"vms/{vm.uid}", wait=wait(180))
    assert succeeded(vm_service.StartVm(start)).vm.state == vm_pb2.VM_STATE_RUNNING
    for name in names:
        delete = vms.DeleteVmRequest(
            request_id=fresh(), name=name, force=True, wait=wait(60)
        )
        succeeded(vm_service.DeleteVm(delete))
        assert succeeded(vm_service.DeleteVm(delete)).vm.name == name
    refused(
        grpc.StatusCode.NOT_FOUND,
        "VM_NOT_FOUND",
        lambda: vm_service.GetVm(vms.GetVmRequest(name="vms/one")),
    )
    gone = vms.DeleteVmRequest(
        request_id=fresh(), name="vms/one", allow_missing=True, wait=wait(60)
    )
    assert not succeeded(vm_service.DeleteVm(gone)).HasField("vm")

    image_service = image_service_pb2_grpc.ImageServiceStub(channel)
    delete = images.DeleteImageRequest(request_id=fresh(), name="images/small", wait=wait(60))
    succeeded(image_service.DeleteImage(delete))
    assert not image_service.ListImages(images.ListImagesRequest()).images
    kernel_service = kernel_service_pb2_grpc.KernelServiceStub(channel)
    delete = kernels.DeleteKernelRequest(
        request_id=fresh(), name="kernels/linux", wait=wait(60)
    )
    succeeded(kernel_service.DeleteKernel(delete))


@scene
def guest(channel, package, reference):
    """Commands, files and events of a machine that runs."""
    from banger.v1 import event_service_pb2 as events, event_service_pb2_grpc
    from banger.v1 import vm_pb2, vm_service_pb2 as vms, vm_service_pb2_grpc

    vm_service = vm_service_pb2_grpc.VmServiceStub(channel)
    event_service = event_service_pb2_grpc.EventServiceStub(channel)
    prepare(channel, package, reference)
    watching = event_service.WatchVms(events.WatchVmsRequest())
    beginning = next(watching)
    assert beginning.HasField("bookmark") and beginning.resume_token, beginning
    create = vms.CreateVmRequest(
        request_id=fresh(), image="images/small", vm_id="g", start=True, wait=wait(180)
    )
    vm = succeeded(vm_service.CreateVm(create)).vm
    seen = []
    for message in watching:
        if message.HasField("change"):
            seen.append(message)
            if message.change.state == vm_pb2.VM_STATE_RUNNING:
                break
    watching.cancel()
    kinds = [one.change.kind for one in seen]
    assert kinds[0] == events.VM_CHANGE_KIND_CREATED, kinds
    assert all(one.change.uid == vm.uid for one in seen), seen
    # whoever comes back misses nothing and gets nothing twice
    request = events.WatchVmsRequest(resume_token=seen[0].resume_token)
    resumed = event_service.WatchVms(request)
    rest = [next(resumed) for _ in seen[1:]]
    resumed.cancel()
    assert rest == seen[1:], (rest, seen)

    commands(channel, vm)
    files(channel, vm)
    delete = vms.DeleteVmRequest(
        request_id=fresh(), name="vms/g", force=True, wait=wait(60)
    )
    succeeded(vm_service.DeleteVm(delete))


class Attachment:
    """A call that is attached to a command."""

    def __init__(self, service, name, from_offset=0, acknowledges=False):
        from banger.v1 import exec_service_pb2 as execs

        self.execs = execs
        self.queue = queue.Queue()
        attach = execs.Attach(
            name=name, from_offset=from_offset, acknowledges=acknowledges
        )
        self.send(attach=attach)
        self.call = service.AttachExec(iter(self.queue.get, None), timeout=120)
        self.attached = next(self.call).attached

    def send(self, **message):
        self.queue.put(self.execs.AttachExecRequest(**message))

    def read(self):
        """Standard output and error, and the exit."""
        output = {1: b"", 2: b""}
        for message in self.call:
            if message.HasField("exit"):
                assert not list(self.call), "something comes after the exit"
                return output[1], output[2], message.exit
            output[message.output.stream] += message.output.data
        raise AssertionError("no exit was told")

    def leave(self):
        self.call.cancel()
        self.queue.put(None)


def commands(channel, vm):
    from banger.v1 import exec_service_pb2 as execs, exec_service_pb2_grpc

    service = exec_service_pb2_grpc.ExecServiceStub(channel)

    def create(*argv, **others):
        request = execs.CreateExecRequest(
            request_id=fresh(), vm="vms/g", argv=argv, **others
        )
        name = service.CreateExec(request).name
        # the same request is the same command
        assert service.CreateExec(request).name == name
        request.argv.append("more")
        refused(
            grpc.StatusCode.ALREADY_EXISTS,
            "REQUEST_ID_REUSED",
            lambda: service.CreateExec(request),
        )
        assert name.startswith(f"vms/{vm.uid}/execs/"), name
        return name

    # input in pieces, some of them twice
    attachment = Attachment(service, create("sh", "-c", "cat; echo oops >&2; exit 7"))
    text = bytes(range(256)) * 1024
    for offset in range(0, len(text), 50_000):
        data = text[max(0, offset - 1000) : offset + 50_000]
        stdin = execs.Stdin(offset=max(0, offset - 1000), data=data)
        attachment.send(stdin=stdin)
    attachment.send(close_stdin=execs.CloseStdin())
    output, complaint, end = attachment.read()
    assert output == text and complaint == b"oops\n" and end.code == 7, (len(output), end)

    # a client that loses every call has every byte once
    name = create("seq", "1", "200000")
    received, calls, ended = b"", 0, None
    while ended is None:
        calls += 1
        start = len(received)
        attachment = Attachment(service, name, start, acknowledges=True)
        for message in attachment.call:
            if message.HasField("exit"):
                ended = message.exit
                break
            assert message.output.offset == len(received), message.output.offset
            received += message.output.data
            # some are lost before they said what they have, some after
            if calls % 3 == 0:
                break
            attachment.send(acknowledge=len(received))
            if start + 150_000 < len(received):
                break
        attachment.leave()
    expected = b"".join(b"%d\n" % number for number in range(1, 200_001))
    assert received == expected and ended.code == 0, (len(received), calls)
    assert calls > 3, calls

    name = create("sleep", "1000")
    attachment = Attachment(service, name)
    attachment.send(signal=15)
    assert attachment.read()[2].signal == 15
    limited = create("sleep", "1000", timeout=wait(1))
    assert Attachment(service, limited).read()[2].HasField("timed_out")

    def failing(argv, **others):
        request = execs.CreateExecRequest(
            request_id=fresh(), vm="vms/g", argv=argv, **others
        )
        return lambda: service.CreateExec(request)

    refused(grpc.StatusCode.NOT_FOUND, "EXEC_PROGRAM_NOT_FOUND", failing(["nothing"]))
    refused(
        grpc.StatusCode.INVALID_ARGUMENT,
        "EXEC_BAD_WORKING_DIRECTORY",
        failing(["true"], working_directory="/nowhere"),
    )
    refused(
        grpc.StatusCode.INVALID_ARGUMENT,
        "EXEC_UNKNOWN_USER",
        failing(["true"], user="nobody-at-all"),
    )
    gap = Attachment(service, create("cat"))
    gap.send(stdin=execs.Stdin(offset=5, data=b"x"))
    refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", lambda: list(gap.call))
    for one in service.ListExecs(execs.ListExecsRequest(vm="vms/g")).execs:
        service.DeleteExec(execs.DeleteExecRequest(name=one.name))
        service.DeleteExec(execs.DeleteExecRequest(name=one.name))
    assert not service.ListExecs(execs.ListExecsRequest(vm="vms/g")).execs
    refused(
        grpc.StatusCode.NOT_FOUND, "EXEC_NOT_FOUND", lambda: Attachment(service, name)
    )


def files(channel, vm):
    from banger.v1 import file_service_pb2 as files, file_service_pb2_grpc

    service = file_service_pb2_grpc.FileServiceStub(channel)
    content = os.urandom(1_000_000)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("data.bin")
        entry.size, entry.mode = len(content), 0o640
        tar.addfile(entry, io.BytesIO(content))

    def pieces(end):
        start = files.WriteFilesStart(vm="vms/g", directory=b"/tmp")
        yield files.WriteFilesRequest(start=start)
        whole = archive.getvalue()
        for offset in range(0, len(whole), 65_536):
            yield files.WriteFilesRequest(data=whole[offset : offset + 65_536])
        if end:
            yield files.WriteFilesRequest(end=files.WriteFilesEnd())

    written = service.WriteFiles(pieces(True))
    assert written.entries == 1 and written.content_bytes == len(content), written
    refused(grpc.StatusCode.CANCELLED, "CANCELLED", lambda: service.WriteFiles(pieces(False)))
    stat = files.StatFileRequest(vm=f"vms/{vm.uid}", path=b"/tmp/data.bin")
    found = service.StatFile(stat)
    assert found.kind == files.FILE_KIND_REGULAR and found.mode == 0o640, found
    assert found.size_bytes == len(content), found
    read = files.ReadFilesRequest(vm="vms/g", path=b"/tmp/data.bin", archived_as=b"back")
    whole, end = b"", None
    for message in service.ReadFiles(read):
        assert end is None, "something comes after the end"
        if message.HasField("end"):
            end = message.end
        whole += message.data
    assert end.entries == 1 and end.content_bytes == len(content), end
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        assert tar.extractfile("back").read() == content
    missing = files.StatFileRequest(vm="vms/g", path=b"/nowhere")
    refused(grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND", lambda: service.StatFile(missing))
    relative = files.StatFileRequest(vm="vms/g", path=b"tmp")
    refused(
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_REQUEST",
        lambda: service.StatFile(relative),
    )


def stubbornly(call):
    """Calls until there is an answer, as a client does that trusts request ids."""
    while True:
        try:
            return call()
        except grpc.RpcError as error:
            transient = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED]
            assert error.code() in transient, error
            time.sleep(0.02)


@scene
def provision(channel, package, reference):
    """What the chaos begins with."""
    prepare(channel, package, reference)


@scene
def chaos(channel, count):
    """Creates machines while the server is killed over and over: each exactly once."""
    from banger.v1 import operation_pb2
    from banger.v1 import operation_service_pb2 as operations, operation_service_pb2_grpc
    from banger.v1 import vm_pb2, vm_service_pb2 as vms, vm_service_pb2_grpc

    vm_service = vm_service_pb2_grpc.VmServiceStub(channel)
    operation_service = operation_service_pb2_grpc.OperationServiceStub(channel)
    lease = vm_pb2.Lease(max_lifetime=wait(3600))
    spec = vm_pb2.VmSpec(disk_bytes=16 << 20, lease=lease)
    made, broken = [], []

    def create(request_id):
        request = vms.CreateVmRequest(request_id=request_id, image="images/small", spec=spec)
        operation = stubbornly(lambda: vm_service.CreateVm(request, timeout=20)).operation
        again = operations.WaitOperationRequest(name=operation.name, timeout=wait(10))
        while operation.state == operation_pb2.OPERATION_STATE_RUNNING:
            operation = stubbornly(
                lambda: operation_service.WaitOperation(again, timeout=20)
            ).operation
        made.append((operation.state, operation.vm.uid, operation.failure.message))

    def work(request_ids):
        try:
            for request_id in request_ids:
                create(request_id)
        except BaseException as error:
            broken.append(error)

    request_ids = [fresh() for _ in range(int(count))]
    workers = [
        threading.Thread(target=work, args=(request_ids[number::8],)) for number in range(8)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not broken, broken
    for state, uid, message in made:
        print(operation_pb2.OperationState.Name(state), uid, message)


@scene
def listed(channel):
    """Prints the ids of all machines."""
    from banger.v1 import vm_service_pb2 as vms, vm_service_pb2_grpc

    vm_service = vm_service_pb2_grpc.VmServiceStub(channel)
    token = ""
    while True:
        page = vm_service.ListVms(vms.ListVmsRequest(page_size=37, page_token=token))
        for vm in page.vms:
            print(vm.uid)
        token = page.next_page_token
        if not token:
            return


def read(path):
    with open(path, "rb") as file:
        return file.read()


def over_tls(address, authority, token=None, certificate=None, key=None):
    """A channel to a server that calls itself server.test."""
    pair = {}
    if certificate:
        pair = {"private_key": read(key), "certificate_chain": read(certificate)}
    credentials = grpc.ssl_channel_credentials(read(authority), **pair)
    if token:
        call = grpc.access_token_call_credentials(token)
        credentials = grpc.composite_channel_credentials(credentials, call)
    options = [("grpc.ssl_target_name_override", "server.test")]
    return grpc.secure_channel(address, credentials, options=options)


def list_vms(channel):
    from banger.v1 import vm_service_pb2 as vms, vm_service_pb2_grpc

    stub = vm_service_pb2_grpc.VmServiceStub(channel)
    return stub.ListVms(vms.ListVmsRequest(), timeout=20)


@scene
def elsewhere(local, address, authority, certificate, key, token):
    """TLS with a token, with a certificate, and with nothing that is known."""
    from banger.v1 import kernel_service_pb2 as kernels, kernel_service_pb2_grpc
    from banger.v1 import system_service_pb2 as system, system_service_pb2_grpc

    for channel in (
        over_tls(address, authority, token=token),
        over_tls(address, authority, certificate=certificate, key=key),
    ):
        with channel:
            assert not list_vms(channel).vms
            stub = system_service_pb2_grpc.SystemServiceStub(channel)
            asked = [("x-request-id", "python-1")]
            _, call = stub.GetServerInfo.with_call(
                system.GetServerInfoRequest(), metadata=asked, timeout=20
            )
            assert dict(call.initial_metadata())["x-request-id"] == "python-1"
            kernel_service = kernel_service_pb2_grpc.KernelServiceStub(channel)
            request = kernels.ImportKernelRequest(request_id=fresh(), source="/boot/vmlinuz")
            refused(
                grpc.StatusCode.PERMISSION_DENIED,
                "OUT_OF_SCOPE",
                lambda: kernel_service.ImportKernel(request, timeout=20),
            )
    for claim in (None, "wrong"):
        with over_tls(address, authority, token=claim) as channel:
            refused(
                grpc.StatusCode.UNAUTHENTICATED,
                "CALLER_UNAUTHENTICATED",
                lambda: list_vms(channel),
            )
            if claim is None:
                # health is everybody's, the description of the services is not
                wait_until_serving(channel)
                database = ProtoReflectionDescriptorDatabase(channel)
                refused(
                    grpc.StatusCode.UNAUTHENTICATED,
                    "CALLER_UNAUTHENTICATED",
                    database.get_services,
                )
    # neither without TLS nor to a server that somebody else vouches for
    for channel in (
        grpc.insecure_channel(address),
        over_tls(address, certificate, token=token),
    ):
        with channel:
            try:
                list_vms(channel)
                raise AssertionError("a connection that should not be")
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.UNAVAILABLE, error


@scene
def replaced(local, address, authority, old, new):
    """One token is refused from some moment on, and another one taken."""
    deadline = time.monotonic() + 60
    with over_tls(address, authority, token=new) as channel:
        while True:
            try:
                list_vms(channel)
                break
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.UNAUTHENTICATED, error
                assert time.monotonic() < deadline, "the new token is never taken"
                time.sleep(0.05)
    with over_tls(address, authority, token=old) as channel:
        refused(
            grpc.StatusCode.UNAUTHENTICATED, "CALLER_UNAUTHENTICATED", lambda: list_vms(channel)
        )


# its scenes use what is here
import life  # noqa: E402, F401


def main():
    name, socket, protos, stubs, *arguments = sys.argv[1:]
    make_stubs(protos, stubs)
    # the authority is the socket's path otherwise, which is none for strict servers
    options = [("grpc.default_authority", "localhost")]
    with grpc.insecure_channel(f"unix:{socket}", options=options) as channel:
        wait_until_serving(channel)
        SCENES[name](channel, *arguments)
    print("done")


main()

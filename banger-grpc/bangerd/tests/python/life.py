"""Scenes of the client: how machines are changed, kept alive and gone on from."""

import time

import grpc
from __main__ import Attachment, fresh, prepare, refused, scene, stubbornly, succeeded, wait


@scene
def life(channel, package, reference):
    """A machine is changed, paused, read, kept alive, and let go."""
    from banger.v1 import vm_pb2, vm_service_pb2 as vms, vm_service_pb2_grpc
    from google.protobuf import field_mask_pb2, timestamp_pb2

    service = vm_service_pb2_grpc.VmServiceStub(channel)
    prepare(channel, package, reference)

    def create(name, **others):
        return vms.CreateVmRequest(image="images/small", vm_id=name, **others)

    # what would be refused is refused without being tried
    service.CreateVm(create("l", validate_only=True))
    wrong = create("l", validate_only=True, spec=vm_pb2.VmSpec(vcpus=100))
    refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", lambda: service.CreateVm(wrong))
    assert not service.ListVms(vms.ListVmsRequest()).vms
    lease = vm_pb2.Lease(max_lifetime=wait(3600))
    spec = vm_pb2.VmSpec(labels={"a": "1", "b": "2"}, lease=lease)
    made = succeeded(
        service.CreateVm(
            create("l", request_id=fresh(), spec=spec, start=True, wait=wait(180))
        )
    ).vm
    taken = create("l", validate_only=True)
    refused(grpc.StatusCode.ALREADY_EXISTS, "VM_EXISTS", lambda: service.CreateVm(taken))
    left = made.expire_time.seconds - made.create_time.seconds
    assert 3595 <= left <= 3605, made

    def update(paths, vm_spec, **others):
        return vms.UpdateVmRequest(
            vm=vm_pb2.Vm(name="vms/l", spec=vm_spec),
            update_mask=field_mask_pb2.FieldMask(paths=paths),
            wait=wait(60),
            **others,
        )

    paths = ["spec.vcpus", "spec.disk_bytes", "spec.labels"]
    wanted = vm_pb2.VmSpec(vcpus=2, disk_bytes=8 << 30, labels={"a": "1", "c": "3"})
    plan = service.UpdateVm(update(paths, wanted, validate_only=True)).plan
    effects = {one.path: vms.ChangeEffect.Name(one.effect) for one in plan}
    assert effects == {
        "spec.vcpus": "CHANGE_EFFECT_NEXT_BOOT",
        "spec.disk_bytes": "CHANGE_EFFECT_NEEDS_STOP",
        "spec.labels": "CHANGE_EFFECT_LIVE",
    }, effects
    present = service.GetVm(vms.GetVmRequest(name="vms/l")).vm
    assert present.etag == made.etag, "asking for a plan changes nothing"
    request = update(["spec.vcpus", "spec.labels"], wanted, request_id=fresh(), etag=made.etag)
    changed = succeeded(service.UpdateVm(request)).vm
    assert dict(changed.spec.labels) == {"a": "1", "c": "3"}, changed
    assert changed.spec.vcpus == 2 and changed.spec.disk_bytes == made.spec.disk_bytes, changed
    assert changed.create_operation == made.create_operation, changed
    # the same request is answered as it was, another one is too late
    assert succeeded(service.UpdateVm(request)).vm == changed
    for late in [
        lambda: service.UpdateVm(update(paths, wanted, request_id=fresh(), etag=made.etag)),
        lambda: service.StopVm(
            vms.StopVmRequest(request_id=fresh(), name="vms/l", etag=made.etag)
        ),
        lambda: service.DeleteVm(
            vms.DeleteVmRequest(request_id=fresh(), name="vms/l", force=True, etag=made.etag)
        ),
    ]:
        refused(grpc.StatusCode.ABORTED, "VM_CHANGED", late)

    for call, message, state in [
        (service.PauseVm, vms.PauseVmRequest, vm_pb2.VM_STATE_PAUSED),
        (service.ResumeVm, vms.ResumeVmRequest, vm_pb2.VM_STATE_RUNNING),
    ]:
        for _ in range(2):
            request = message(request_id=fresh(), name="vms/l", wait=wait(60))
            assert succeeded(call(request)).vm.state == state
    stats = service.GetVmStats(vms.GetVmStatsRequest(name="vms/l"))
    assert stats.running.memory_bytes > 0 and stats.on_disk_bytes > 0, stats

    before = service.GetVm(vms.GetVmRequest(name="vms/l")).vm.expire_time
    renewed = service.RenewLease(vms.RenewLeaseRequest(name="vms/l")).vm
    assert renewed.expire_time.ToNanoseconds() > before.ToNanoseconds(), renewed
    idle = vm_pb2.Lease(idle_timeout=wait(1800), on_expiry=vm_pb2.LEASE_EXPIRY_STOP)
    renewed = service.RenewLease(vms.RenewLeaseRequest(name="vms/l", lease=idle)).vm
    assert renewed.spec.lease == idle and not renewed.HasField("expire_time"), renewed

    follow = vms.ReadVmLogRequest(name="vms/l", follow=True)
    followed = service.ReadVmLog(follow)
    first = next(followed)
    assert first.offset == 0 and first.data, first
    stop = vms.StopVmRequest(request_id=fresh(), name="vms/l", etag=renewed.etag, wait=wait(60))
    stopped = succeeded(service.StopVm(stop)).vm
    # it ends when the machine does
    text = first.data
    for piece in followed:
        assert piece.offset == len(text), (piece.offset, len(text))
        text += piece.data
    whole = b"".join(
        piece.data for piece in service.ReadVmLog(vms.ReadVmLogRequest(name="vms/l"))
    )
    assert whole == text, (len(whole), len(text))
    tail = list(service.ReadVmLog(vms.ReadVmLogRequest(name="vms/l", tail_lines=3)))
    assert tail[0].data.count(b"\n") <= 3 and whole.endswith(tail[0].data), tail
    later = timestamp_pb2.Timestamp(seconds=stopped.stop_time.seconds + 60)
    assert not list(service.ReadVmLog(vms.ReadVmLogRequest(name="vms/l", since=later)))

    grown = update(["spec.disk_bytes"], wanted, request_id=fresh(), etag=stopped.etag)
    assert succeeded(service.UpdateVm(grown)).vm.spec.disk_bytes == 8 << 30
    free = update(["spec.lease"], vm_pb2.VmSpec(), request_id=fresh())
    assert not succeeded(service.UpdateVm(free)).vm.spec.HasField("lease")
    none = vms.RenewLeaseRequest(name="vms/l")
    refused(
        grpc.StatusCode.FAILED_PRECONDITION, "VM_WRONG_STATE", lambda: service.RenewLease(none)
    )
    short = vm_pb2.Lease(max_lifetime=wait(1))
    service.RenewLease(vms.RenewLeaseRequest(name="vms/l", lease=short))
    until_gone(service, "vms/l")


def until_gone(service, name):
    """Returns when there is no such machine."""
    from banger.v1 import vm_service_pb2 as vms

    for _ in range(600):
        try:
            service.GetVm(vms.GetVmRequest(name=name))
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND, error
            return
        time.sleep(0.1)
    raise AssertionError(f"{name} lives on")


@scene
def snapshots(channel, package, reference):
    """A machine is kept as it runs, and others go on from there."""
    from banger.v1 import exec_service_pb2 as execs, exec_service_pb2_grpc
    from banger.v1 import operation_pb2
    from banger.v1 import snapshot_service_pb2 as snapshots, snapshot_service_pb2_grpc
    from banger.v1 import vm_pb2, vm_service_pb2 as vms, vm_service_pb2_grpc

    vm_service = vm_service_pb2_grpc.VmServiceStub(channel)
    service = snapshot_service_pb2_grpc.SnapshotServiceStub(channel)
    exec_service = exec_service_pb2_grpc.ExecServiceStub(channel)
    pulled = prepare(channel, package, reference)
    phases = [operation_pb2.PhaseKind.Name(phase.kind) for phase in pulled.phases]
    for phase in ["RESOLVE", "FETCH", "BUILD"]:
        assert f"PHASE_KIND_{phase}" in phases, phases

    def run(vm, *argv):
        request = execs.CreateExecRequest(request_id=fresh(), vm=vm, argv=argv)
        output, complaint, end = Attachment(
            exec_service, exec_service.CreateExec(request).name
        ).read()
        assert end.code == 0, (complaint, end)
        return output

    spec = vm_pb2.VmSpec(memory_bytes=256 << 20, labels={"a": "1", "b": "2"})
    create = vms.CreateVmRequest(
        request_id=fresh(), image="images/small", vm_id="s", spec=spec, start=True, wait=wait(180)
    )
    created = succeeded(vm_service.CreateVm(create))
    phases = [operation_pb2.PhaseKind.Name(phase.kind) for phase in created.phases]
    expected = ["CREATE", "CLONE", "LAUNCH", "BOOT", "VMM", "KERNEL", "INIT", "AGENT"]
    assert phases == [f"PHASE_KIND_{phase}" for phase in expected], phases
    # the last is what the clock of the guest leaves of the whole
    assert all(phase.duration.ToNanoseconds() > 0 for phase in created.phases[:-1]), created
    began = execs.CreateExecRequest(request_id=fresh(), vm="vms/s", argv=["true"])
    phases = exec_service.CreateExec(began).phases
    phases = [operation_pb2.PhaseKind.Name(phase.kind) for phase in phases]
    assert phases == ["PHASE_KIND_RESOLVE", "PHASE_KIND_EXEC"], phases
    run("vms/s", "sh", "-c", "echo kept > /tmp/mark")
    keep = snapshots.CreateSnapshotRequest(request_id=fresh(), vm="vms/s", wait=wait(120))
    kept = succeeded(service.CreateSnapshot(keep)).snapshot
    assert kept.vm.uid == created.vm.uid and kept.on_disk_bytes > 0, kept
    assert succeeded(service.CreateSnapshot(keep)).snapshot == kept
    run("vms/s", "sh", "-c", "echo changed > /tmp/mark")

    listed = service.ListSnapshots(snapshots.ListSnapshotsRequest()).snapshots
    assert list(listed) == [kept], listed
    assert service.GetSnapshot(snapshots.GetSnapshotRequest(name=kept.name)).snapshot == kept
    part = kept.name[:-4]
    refused(
        grpc.StatusCode.NOT_FOUND,
        "SNAPSHOT_NOT_FOUND",
        lambda: service.GetSnapshot(snapshots.GetSnapshotRequest(name=part)),
    )

    restore = snapshots.RestoreVmRequest(
        request_id=fresh(),
        snapshot=kept.name,
        vm_id="t",
        labels={"b": "3"},
        lease=vm_pb2.Lease(max_lifetime=wait(3600)),
        wait=wait(180),
    )
    restored = succeeded(service.RestoreVm(restore))
    assert restored.vm.state == vm_pb2.VM_STATE_RUNNING, restored
    assert restored.vm.create_operation == restored.name, restored
    assert dict(restored.vm.spec.labels) == {"a": "1", "b": "3"}, restored
    assert succeeded(service.RestoreVm(restore)).vm.uid == restored.vm.uid
    assert run("vms/t", "cat", "/tmp/mark") == b"kept\n"
    assert run("vms/s", "cat", "/tmp/mark") == b"changed\n"

    for _ in range(2):
        delete = snapshots.DeleteSnapshotRequest(
            request_id=fresh(), name=kept.name, allow_missing=True, wait=wait(60)
        )
        succeeded(service.DeleteSnapshot(delete))
    restore.request_id = fresh()
    refused(
        grpc.StatusCode.NOT_FOUND, "SNAPSHOT_NOT_FOUND", lambda: service.RestoreVm(restore)
    )
    for name in ["vms/s", "vms/t"]:
        delete = vms.DeleteVmRequest(request_id=fresh(), name=name, force=True, wait=wait(60))
        succeeded(vm_service.DeleteVm(delete))


@scene
def heartbeat(channel):
    """A client that makes a machine in a session, and keeps that until it is killed."""
    from banger.v1 import operation_pb2
    from banger.v1 import session_service_pb2 as sessions, session_service_pb2_grpc
    from banger.v1 import vm_service_pb2 as vms, vm_service_pb2_grpc

    vm_service = vm_service_pb2_grpc.VmServiceStub(channel)
    service = session_service_pb2_grpc.SessionServiceStub(channel)
    request = sessions.KeepSessionRequest(name="sessions/ci", time_to_live=wait(8))
    create = vms.CreateVmRequest(
        request_id=fresh(), image="images/small", start=True, session="sessions/ci"
    )
    told = 0
    while True:
        stubbornly(lambda: service.KeepSession(request, timeout=20))
        operation = stubbornly(lambda: vm_service.CreateVm(create, timeout=20)).operation
        succeeds = [operation_pb2.OPERATION_STATE_RUNNING, operation_pb2.OPERATION_STATE_SUCCEEDED]
        assert operation.state in succeeds, operation
        if operation.state == operation_pb2.OPERATION_STATE_SUCCEEDED:
            vm = stubbornly(
                lambda: vm_service.GetVm(vms.GetVmRequest(name=operation.vm.name), timeout=20)
            ).vm
            told += 1
            print("kept", told, vm.uid, flush=True)
        time.sleep(0.5)


@scene
def empty(channel):
    """Returns when there are no machines any more."""
    from banger.v1 import vm_service_pb2 as vms, vm_service_pb2_grpc

    vm_service = vm_service_pb2_grpc.VmServiceStub(channel)
    while vm_service.ListVms(vms.ListVmsRequest()).vms:
        time.sleep(0.1)

"""Calls a CSI plugin through Python's gRPC and protobuf: call.py SOCKET. Prints one line for each answer."""

import sys

import grpc

import descriptors


def main(socket):
    classes = descriptors.message_classes()

    def message(type, **fields):
        return classes[f"csi.v1.{type}"](**fields)

    with grpc.insecure_channel(f"unix:{socket}") as channel:
        def create(request):
            call = channel.unary_unary(
                "/csi.v1.Controller/CreateVolume", request_serializer=lambda data: data,
                response_deserializer=classes["csi.v1.CreateVolumeResponse"].FromString)
            try:
                print(call(request, timeout=10).volume.volume_id)
            except grpc.RpcError as error:
                print(error.code().name, error.details())

        create(message("CreateVolumeRequest", name="vol-ä", parameters={"a": "b"}).SerializeToString())
        create(message("CreateVolumeRequest", name="missing").SerializeToString())
        create(message("CreateVolumeRequest", name="a\0b").SerializeToString())
        create(b"\x0a\x09")
        stream = channel.unary_stream(
            "/csi.v1.SnapshotMetadata/GetMetadataAllocated",
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=classes["csi.v1.GetMetadataAllocatedResponse"].FromString)
        responses = stream(message("GetMetadataAllocatedRequest", snapshot_id="s", max_results=3), timeout=10)
        print([response.volume_capacity_bytes for response in responses])


if __name__ == "__main__":
    main(sys.argv[1])

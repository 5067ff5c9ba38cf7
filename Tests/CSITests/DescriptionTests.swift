import Testing

@testable import CSI

/// How messages look in logs.
@Suite struct DescriptionTests {
    @Test func descriptionsAreOneLineWithWhatIsSet() {
        #expect(ProbeRequest().description == "ProbeRequest()")
        #expect(ProbeResponse(ready: false).description == "ProbeResponse(ready: false)")
        #expect(GetCapacityResponse(maximumVolumeSize: 0).description == "GetCapacityResponse(maximumVolumeSize: 0)")
        let request = CreateVolumeRequest(
            name: "two\nlines", capacityRange: .init(requiredBytes: 7), volumeCapabilities: [SampleMessages.mounted],
            parameters: ["b": "2", "a": "1"], secrets: ["a": "b"])
        #expect(
            request.description == #"CreateVolumeRequest(name: "two\nlines", "#
                + #"capacityRange: CapacityRange(requiredBytes: 7), volumeCapabilities: [VolumeCapability("#
                + #"accessType: .mount(VolumeCapability.MountVolume(fsType: "xfs", "#
                + #"mountFlags: ["noatime", "", "nodiscard"], volumeMountGroup: "1000")), "#
                + #"accessMode: VolumeCapability.AccessMode(mode: SINGLE_NODE_SINGLE_WRITER))], "#
                + #"parameters: ["a": "1", "b": "2"], secrets: ***stripped***)"#)
        #expect(
            Snapshot(creationTime: .init(seconds: 5, nanoseconds: 6)).description
                == "Snapshot(creationTime: 5 s + 6 ns)")
    }

    @Test func descriptionsAreBounded() {
        let request = DeleteVolumeRequest(volumeID: String(repeating: "v", count: 5000))
        #expect(request.description(limit: 100).count == 100)
        #expect(request.description(limit: 100).hasSuffix("vvv..."))
        #expect(request.description(limit: 10_000) == request.description)
    }

    @Test func methodNamesAreShort() {
        #expect(shortMethodName("/csi.v1.Controller/CreateVolume") == "CreateVolume")
        #expect(shortMethodName("nothing") == "nothing")
        #expect(shortMethodName("") == "")
    }

    @Test func timestampsAreOrdered() {
        #expect(Timestamp(seconds: 1, nanoseconds: 9) < Timestamp(seconds: 2))
        #expect(Timestamp(seconds: 1) < Timestamp(seconds: 1, nanoseconds: 1))
    }
}

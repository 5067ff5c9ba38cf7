import CSI
import Errors
import Testing

@testable import CSINode

/// What a pod's description may say of an ephemeral volume; what it may not is in the tests of processes.
@Suite struct EphemeralAttributesTests {
    private func attributes(
        _ more: [String: String] = [:], fsType: String = ""
    ) throws -> EphemeralAttributes {
        let context = ["csi.storage.k8s.io/ephemeral": "true", "csi.storage.k8s.io/pod.name": "pod"]
        let capability = VolumeCapability(
            accessType: .mount(VolumeCapability.MountVolume(fsType: fsType)),
            accessMode: VolumeCapability.AccessMode(mode: .singleNodeWriter))
        return try EphemeralAttributes(context.merging(more) { $1 }, capability)
    }

    @Test func whatIsNotSaidIsAsInAStorageClass() throws {
        let plain = try attributes()
        #expect(plain.pool == "default" && plain.fileSystem == "ext4" && plain.sizeBytes == 1 << 30)
        #expect(plain.settings.bytesPerInode == nil && plain.settings.journalBytes == nil)
    }

    @Test func whatIsSaidCounts() throws {
        let all = try attributes([
            "pool": "fast", "size": "10Gi", "inodeRatio": "64Ki", "reservedBlocksPercent": "1", "journalSize": "16Mi",
        ])
        #expect(all.pool == "fast" && all.sizeBytes == 10 << 30)
        #expect(all.settings.bytesPerInode == 65536 && all.settings.reservedPercent == 1)
        #expect(all.settings.journalBytes == 16 << 20)
        for (attribute, beside) in [("xfs", ""), ("xfs", "xfs")] {
            #expect(try attributes(["fsType": attribute], fsType: beside).fileSystem == "xfs")
        }
        #expect(try attributes(fsType: "btrfs").fileSystem == "btrfs")
    }

    @Test func sizesAreRoundedUpToWhatAFileSystemNeeds() throws {
        #expect(try attributes(["size": "1"]).sizeBytes == 16 << 20)
        #expect(try attributes(["size": "1", "fsType": "xfs"]).sizeBytes == 300 << 20)
        #expect(try attributes(["size": "17Mi"]).sizeBytes == 20 << 20)
    }

    @Test func onlyTheWordTrueMakesAVolumeEphemeral() {
        #expect(EphemeralAttributes.areIn(["csi.storage.k8s.io/ephemeral": "true"]))
        #expect(!EphemeralAttributes.areIn(["csi.storage.k8s.io/ephemeral": "false"]))
        #expect(!EphemeralAttributes.areIn([:]))
    }
}

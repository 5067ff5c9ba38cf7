import Errors
import Testing

@testable import CSI

/// Serialized messages that are malformed, strange, or merely unusual.
@Suite struct WireFormatTests {
    private func expectRefusal<Message: CSIMessage>(
        of bytes: [UInt8], as type: Message.Type, saying text: String, location: SourceLocation = #_sourceLocation
    ) {
        let error = #expect(throws: PerSSDError.self, sourceLocation: location) { try type.decode(bytes) }
        #expect(error?.code == .invalidArgument, sourceLocation: location)
        #expect(
            error?.message.contains(text) == true, "\(error?.message ?? "no error")", sourceLocation: location)
        #expect(error?.remedy != nil, sourceLocation: location)
    }

    @Test(arguments: ["\0", "a\0b", "end\0"])
    func stringsWithNULsAreRefused(text: String) {
        expectRefusal(
            of: WireBytes.text(1, text), as: CreateVolumeRequest.self,
            saying: "csi.v1.CreateVolumeRequest: field name holds a NUL")
        expectRefusal(
            of: WireBytes.field(3, WireBytes.field(2, WireBytes.text(2, text))), as: CreateVolumeRequest.self,
            saying: "field volume_capabilities.mount.mount_flags holds a NUL")
        expectRefusal(
            of: WireBytes.entry(4, text, "value"), as: CreateVolumeRequest.self,
            saying: "field parameters.key holds a NUL")
        expectRefusal(
            of: WireBytes.entry(5, "key", text), as: CreateVolumeRequest.self,
            saying: "field secrets.value holds a NUL")
    }

    @Test(arguments: ["c3", "80", "61ff", "c080", "eda080", "f4908080", "f8888080", "e282"])
    func stringsThatAreNotUTF8AreRefused(hex: String) {
        let text = bytesFrom(hex: hex)
        expectRefusal(
            of: WireBytes.field(1, text), as: CreateVolumeRequest.self,
            saying: "csi.v1.CreateVolumeRequest: field name is not valid UTF-8")
        expectRefusal(
            of: WireBytes.field(5, WireBytes.field(2, text)), as: CreateVolumeRequest.self,
            saying: "field secrets.value is not valid UTF-8")
    }

    @Test func malformedBytesAreRefused() {
        func expect(_ bytes: [UInt8], _ text: String, location: SourceLocation = #_sourceLocation) {
            expectRefusal(of: bytes, as: ListVolumesRequest.self, saying: text, location: location)
        }
        expect([0x80], "ends in the middle of a number")
        expect([0x08], "field max_entries ends in the middle of a number")
        expect([0x08] + [UInt8](repeating: 0xff, count: 11), "field max_entries has a number of more than 10 bytes")
        expect([0x12, 0x05, 0x61], "field starting_token is cut short: 5 bytes are announced, 1 are there")
        expect([0x12] + WireBytes.varint(.max), "field starting_token is cut short")
        expect([0x00, 0x00], "has a field with the number 0, which is not allowed")
        expect(WireBytes.number(1 << 29, 1), "has a field with the number 536870912, which is not allowed")
        expect(WireBytes.tag(7, wireType: 3) + WireBytes.tag(7, wireType: 4), "field 7 has wire type 3")
        expect(WireBytes.tag(7, wireType: 1) + [1, 2, 3], "field 7 is cut short: 8 bytes are announced, 3 are there")
        expect(WireBytes.text(1, "x"), "field max_entries has wire type 2, which does not fit its type")
        expect(WireBytes.number(2, 1), "field starting_token has wire type 0, which does not fit its type")
    }

    @Test func unknownFieldsAreSkipped() throws {
        let request = SampleMessages.createVolume
        let unknown =
            WireBytes.number(1000, .max) + WireBytes.tag(1001, wireType: 1) + [UInt8](repeating: 1, count: 8)
            + WireBytes.tag(1002, wireType: 5) + [UInt8](repeating: 2, count: 4)
            + WireBytes.field(0x1fff_ffff, [0xff, 0, 0x80])
        #expect(try CreateVolumeRequest.decode(unknown + request.encode() + unknown) == request)
        let nested = WireBytes.field(2, unknown + WireBytes.number(1, 5))
        #expect(try CreateVolumeRequest.decode(nested).capacityRange == CapacityRange(requiredBytes: 5))
    }

    @Test func repetitionsFollowTheRules() throws {
        let names = WireBytes.text(1, "first") + WireBytes.text(1, "last")
        #expect(try CreateVolumeRequest.decode(names).name == "last")
        let ranges = WireBytes.field(2, WireBytes.number(1, 1)) + WireBytes.field(2, WireBytes.number(2, 2))
        expectRefusal(of: ranges, as: CreateVolumeRequest.self, saying: "field capacity_range occurs more than once")
        let sources =
            WireBytes.field(1, WireBytes.text(1, "snapshot")) + WireBytes.field(2, WireBytes.text(1, "volume"))
        #expect(try VolumeContentSource.decode(sources).type == .volume(.init(volumeID: "volume")))
        let other =
            WireBytes.field(2, WireBytes.text(1, "volume")) + WireBytes.field(1, WireBytes.text(1, "snapshot"))
        #expect(try VolumeContentSource.decode(other).type == .snapshot(.init(snapshotID: "snapshot")))
    }

    @Test func mapEntriesFollowTheRules() throws {
        let entries =
            WireBytes.entry(1, "key", "first") + WireBytes.entry(1, "other", "1") + WireBytes.entry(1, "key", "last")
        #expect(try Topology.decode(entries).segments == ["key": "last", "other": "1"])
        #expect(try Topology.decode(WireBytes.field(1, [])).segments == ["": ""])
        #expect(try Topology.decode(WireBytes.field(1, WireBytes.text(1, "key"))).segments == ["key": ""])
        #expect(try Topology.decode(WireBytes.field(1, WireBytes.text(2, "value"))).segments == ["": "value"])
        let reversed = WireBytes.field(1, WireBytes.text(2, "value") + WireBytes.text(1, "key"))
        #expect(try Topology.decode(reversed).segments == ["key": "value"])
    }

    @Test func mapsAreWrittenInOrder() throws {
        let keys = (0..<200).map { "key\($0)" } + ["", "Z", "ä", "💾"]
        let topology = Topology(segments: Dictionary(uniqueKeysWithValues: keys.map { ($0, "1") }))
        let ordered = keys.sorted().flatMap {
            WireBytes.field(1, ($0 == "" ? [] : WireBytes.text(1, $0)) + WireBytes.text(2, "1"))
        }
        #expect(try topology.encode() == ordered)
    }

    @Test func stringsWithNULsAreNotWritten() {
        func expect(_ message: some CSIMessage, _ text: String) {
            let error = #expect(throws: PerSSDError.self) { try message.encode() }
            #expect(error?.code == .invalidArgument)
            #expect(error?.description.contains(text) == true, "\(error?.description ?? "no error")")
            #expect(error?.description.contains("canary") == false)
        }
        expect(Volume(volumeID: "canary\0"), "cannot encode csi.v1.Volume: field volume_id holds a NUL")
        expect(
            CreateVolumeResponse(volume: .init(volumeContext: ["canary\0": ""])),
            "cannot encode csi.v1.CreateVolumeResponse: field volume_context holds a NUL")
        expect(DeleteVolumeRequest(secrets: ["k": "canary\0"]), "field secrets holds a NUL")
        expect(CreateVolumeGroupSnapshotRequest(sourceVolumeIDs: ["", "canary\0"]), "field source_volume_ids holds")
    }

    @Test func emptyMessagesTakeNoBytes() throws {
        func roundTrip<Message: CSIMessage>(_ type: Message.Type) throws -> [UInt8] { try type.decode([]).encode() }
        for type in allMessages { #expect(try roundTrip(type) == []) }
    }

    @Test func longStringsAndManyElementsSurvive() throws {
        let long = String(repeating: "0123456789abcdef", count: 1 << 16)
        let topologies = (0..<5000).map { Topology(segments: ["index": "\($0)"]) }
        let volume = Volume(volumeID: long, accessibleTopology: topologies)
        #expect(try Volume.decode(volume.encode()) == volume)
    }

    /// Every cut of a message is refused or is a message by itself, in which case it can be written and read again.
    @Test func truncatedMessagesDoNotCrash() throws {
        var refused = 0
        for message in SampleMessages.all {
            let (bytes, type) = (try message.encode(), type(of: message))
            for length in 0..<bytes.count {
                let survives = try survives(Array(bytes[..<length]), type)
                if !survives { refused += 1 }
            }
        }
        #expect(refused > 500)
    }

    /// Bytes changed, cut out, put in and repeated at random, with the same seed in each run.
    @Test func damagedMessagesDoNotCrash() throws {
        var numbers = SeededNumbers(seed: 112)
        var (refused, read) = (0, 0)
        for message in SampleMessages.all {
            let (original, type) = (try message.encode(), type(of: message))
            for _ in 0..<1500 {
                let survives = try survives(numbers.damaged(original), type)
                if survives { read += 1 } else { refused += 1 }
            }
        }
        #expect(refused > 1000)
        #expect(read > 1000)
    }

    @Test func garbageDoesNotCrash() throws {
        var numbers = SeededNumbers(seed: 113)
        for type in allMessages {
            for _ in 0..<200 {
                let count = Int.random(in: 0...64, using: &numbers)
                let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &numbers) }
                _ = try survives(bytes, type)
            }
        }
    }

    /// False where the bytes are refused as they should be. What is read can be written, and is then the same.
    private func survives<Message: CSIMessage>(_ bytes: [UInt8], _ type: Message.Type) throws -> Bool {
        let message: Message
        do {
            message = try type.decode(bytes)
        } catch {
            try #require(error.code == .invalidArgument)
            try #require(!error.message.contains("are not such a message"), "found by protobuf-c alone: \(hex(bytes))")
            return false
        }
        try #require(try Message.decode(message.encode()) == message, "\(hex(bytes))")
        return true
    }
}

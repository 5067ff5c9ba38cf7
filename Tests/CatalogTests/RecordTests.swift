import CatalogTestSupport
import Errors
import Foundation
import Testing

@testable import Persistence

@Suite struct RecordTests {
    let store = MemoryStore()
    var catalog: Catalog { Catalog(store: store) }

    /// Replaces a text in an object.
    private func edit(_ path: String, _ old: String, _ new: String) throws {
        let text = String(decoding: try #require(store.bytes(path)), as: UTF8.self)
        try #require(text.contains(old), "'\(old)' is not in \(text)")
        store.overwrite(path, [UInt8](text.replacingOccurrences(of: old, with: new).utf8))
    }

    @Test func recordsNameTheirFormat() async throws {
        let id = try await catalog.createVolume(newVolume()).volume
        for (name, format) in [("volume", "perssd-volume"), ("head", "perssd-head")] {
            let bytes = try #require(store.bytes("volumes/\(id)/\(name).json"))
            let object = try #require(try JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any])
            #expect(object["format"] as? String == format)
            #expect(object["version"] as? Int == 1)
        }
    }

    @Test func aVolumeThatSaysNothingOfItsFileSystemIsAsItAlwaysWas() async throws {
        let made = try await catalog.createVolume(newVolume())
        let path = "volumes/\(made.volume)/volume.json"
        let text = String(decoding: try #require(store.bytes(path)), as: UTF8.self)
        for key in ["inodeRatio", "reservedBlocksPercent", "journalSize"] { #expect(!text.contains(key)) }
        try edit(path, "\"pool\" : \"default\",", "\"pool\" : \"default\",\n    \"journalSize\" : 8388608,")
        #expect(try await catalog.volume(made.volume).record.parameters.journalSize == 8 << 20)
    }

    @Test func sameRecordSameBytes() throws {
        let head = emptyHead()
        #expect(try head.encoded() == (try head.encoded()))
        let copy = try Head(decoding: try head.encoded(), from: try ObjectKey("x"))
        #expect(copy == head)
        #expect(try copy.encoded() == (try head.encoded()))
    }

    @Test func recordsTakeTheClockInWholeSeconds() async throws {
        let catalog = Catalog(store: store, now: { Date(timeIntervalSince1970: 1_700_000_000.75) })
        let made = try await catalog.createVolume(newVolume())
        #expect(try await catalog.volume(made.volume).record == made)
    }

    @Test func aVersionFromTheFutureIsUnsupported() async throws {
        let id = try await catalog.createVolume(newVolume()).volume
        let path = "volumes/\(id)/head.json"
        try edit(path, "\"version\" : 1", "\"version\" : 2")
        await expectError(.unsupported, path, "version 2", "upgrade") { _ = try await catalog.head(id) }
        await expectError(.unsupported, path) { try await catalog.deleteVolume(id) }
        await expectError(.unsupported, path) { _ = try await catalog.createVolume(newVolume()) }
        try edit(path, "\"version\" : 2", "\"version\" : 0")
        await expectError(.unsupported, path, "version 0") { _ = try await catalog.head(id) }
    }

    @Test func aPartFromTheFutureIsUnsupportedToo() async throws {
        let head = try await catalog.updateHead(try await catalog.createVolume(newVolume()).volume) {
            try $0.opening(by: nodeA, expectedEpoch: nil, now: start)
        }.value
        try await catalog.writeBranch(try generationRecord(of: head), wrote: [], base: nil)
        let path = try CatalogKey.branch(head.volume, head.incarnation, epoch: 1).path
        let text = String(decoding: try #require(store.bytes(path)), as: UTF8.self)
        // The block map's version, which is indented further than the record's own.
        let version = try #require(text.range(of: "    \"version\" : 1"))
        store.overwrite(path, [UInt8](text.replacingCharacters(in: version, with: "    \"version\" : 9").utf8))
        await expectError(.unsupported, path, "9") {
            _ = try await catalog.branches(of: head.volume, head.incarnation)
        }
    }

    @Test func keysOfALaterVersionAreIgnored() async throws {
        let id = try await catalog.createVolume(newVolume()).volume
        try edit("volumes/\(id)/head.json", "\"version\" : 1", "\"version\" : 1,\n  \"zeal\" : 7")
        #expect(try await catalog.head(id).value.epoch == 0)
    }

    @Test(arguments: [
        "", "{}", "not JSON", "[1, 2]", "{\"format\":\"perssd-head\"}", "{\"format\":\"perssd-head\",\"version\":1}",
    ])
    func damageIsNamed(_ text: String) async throws {
        let id = try await catalog.createVolume(newVolume()).volume
        let path = "volumes/\(id)/head.json"
        store.overwrite(path, [UInt8](text.utf8))
        await expectError(.corrupt, path, "backup") { _ = try await catalog.head(id) }
        await expectError(.corrupt, path) { _ = try await catalog.volume(id) }
        await expectError(.corrupt, path) { try await catalog.deleteVolume(id) }
        await expectError(.corrupt, path) { _ = try await catalog.createVolume(newVolume()) }
        #expect(store.bytes(path) == [UInt8](text.utf8), "damage was overwritten")
    }

    @Test func everyTruncationIsDamage() async throws {
        let id = try await catalog.createVolume(newVolume()).volume
        let path = "volumes/\(id)/volume.json"
        let bytes = try #require(store.bytes(path))
        for length in stride(from: 0, to: bytes.count, by: 13) {
            store.overwrite(path, Array(bytes[..<length]))
            await expectError(.corrupt, path) { _ = try await catalog.volume(id) }
        }
    }

    @Test func anotherKindOfRecordIsDamage() async throws {
        let id = try await catalog.createVolume(newVolume()).volume
        let path = "volumes/\(id)/head.json"
        store.overwrite(path, store.bytes("volumes/\(id)/volume.json"))
        await expectError(.corrupt, path, "'perssd-volume'", "'perssd-head'") { _ = try await catalog.head(id) }
    }

    @Test func theRecordOfAnotherVolumeIsDamage() async throws {
        let id = try await catalog.createVolume(newVolume()).volume
        let other = try await catalog.createVolume(newVolume("pvc-2")).volume
        for name in ["volume", "head"] {
            let path = "volumes/\(id)/\(name).json"
            let own = store.bytes(path)
            store.overwrite(path, store.bytes("volumes/\(other)/\(name).json"))
            await expectError(.corrupt, path, "something else") { _ = try await catalog.volume(id) }
            store.overwrite(path, own)
        }
        #expect(try await catalog.volume(id).record.name == "pvc-1")
    }

    @Test(arguments: [
        ("\"volume\" : \"vol-", "\"volume\" : \"../"), ("\"incarnation\" : \"", "\"incarnation\" : \"zz"),
        ("\"capacityBytes\" : 67108864", "\"capacityBytes\" : -5"), ("\"createdAt\" : \"2", "\"createdAt\" : \"x"),
        ("\"stageOut\" : \"onUnpublish\"", "\"stageOut\" : \"never\""),
    ])
    func badValuesAreDamage(_ old: String, _ new: String) async throws {
        let id = try await catalog.createVolume(newVolume()).volume
        let path = "volumes/\(id)/volume.json"
        try edit(path, old, new)
        await expectError(.corrupt, path, "damaged") { _ = try await catalog.volume(id) }
    }

    @Test func aCapacityBeyondAllBoundsDoesNotTrap() async throws {
        let id = try await catalog.createVolume(newVolume()).volume
        try edit("volumes/\(id)/volume.json", "67108864", "\(UInt64.max)")
        #expect(try await catalog.createVolume(newVolume()).capacityBytes == .max)
        await expectError(.alreadyExists) { _ = try await catalog.createVolume(newVolume(limit: 64 << 20)) }
    }
}

import CatalogTestSupport
import Errors
import Persistence
import Testing

@Suite struct ModificationTests {
    let store = MemoryStore()
    var catalog: Catalog { Catalog(store: store) }

    private let all = [
        "checkpointInterval": "5m", "compressionLevel": "7", "retention": "last=3", "stageOut": "background",
        "stageOutBandwidth": "20Mi", "stageOutDelay": "10m",
    ]

    @Test func changesWhatIsNamedOnceAndNothingElse() async throws {
        let made = try await catalog.createVolume(newVolume())
        let modified = try await catalog.modifyVolume(made.volume, to: all)
        var expected = made
        expected.parameters = VolumeParameters(
            compressionLevel: 7, stageOut: .background, checkpointInterval: 300, retention: RetentionPolicy(last: 3),
            stageOutBandwidth: 20 << 20, stageOutDelay: 600)
        expected.modifiedAt = modified.modifiedAt
        #expect(modified == expected && modified.modifiedAt != nil)
        #expect(try await catalog.volume(made.volume).record == expected)
        store.forgetCalls()
        #expect(try await catalog.modifyVolume(made.volume, to: all) == expected)
        #expect(!store.calls.contains { $0.operation == .write })
        // What is not named stays; and what is off by default can be turned off again.
        let off = try await catalog.modifyVolume(
            made.volume, to: ["checkpointInterval": "none", "stageOutBandwidth": "none", "stageOutDelay": "0s"])
        expected.parameters.checkpointInterval = nil
        expected.parameters.stageOutBandwidth = nil
        expected.parameters.stageOutDelay = nil
        expected.modifiedAt = off.modifiedAt
        #expect(off == expected)
    }

    @Test func allOrNothing() async throws {
        let made = try await catalog.createVolume(newVolume())
        for (key, value, words) in [
            ("iops", "1", "'iops', which no volume has"), ("pool", "fast", "'pool', which is fixed"),
            ("nodeLossTimeout", "1m", "'nodeLossTimeout', which is fixed"),
            ("stageOutBandwidth", "1Ki", "parameter stageOutBandwidth is '1Ki'"),
            ("stageOutBandwidth", "2Ti", "from 1Mi to 1Ti"), ("checkpointInterval", "", "or 'none'"),
            ("stageOutDelay", "25h", "up to 24h"), ("stageOut", "onUnpublish", "stageOutDelay is 600s"),
            ("retention", "none", "parameter retention is 'none'"),
        ] {
            var wanted = all
            wanted[key] = value
            await expectError(.invalidArgument, words) {
                _ = try await catalog.modifyVolume(made.volume, to: wanted)
            }
            if VolumeParameters.mutableKeys.contains(key) { continue }
            await expectError(
                .invalidArgument,
                "checkpointInterval, compressionLevel, retention, stageOut, stageOutBandwidth, "
                    + "stageOutDelay"
            ) { _ = try await catalog.modifyVolume(made.volume, to: wanted) }
        }
        #expect(try await catalog.volume(made.volume).record == made)
    }

    @Test func aRepeatedCreationFindsAVolumeThatWasModified() async throws {
        let made = try await catalog.createVolume(newVolume())
        let modified = try await catalog.modifyVolume(made.volume, to: all)
        #expect(try await catalog.createVolume(newVolume()) == modified)
        await expectError(.alreadyExists, "other parameters") {
            _ = try await catalog.createVolume(newVolume(parameters: VolumeParameters(pool: "fast")))
        }
        // One that was not, with what it was made with only.
        _ = try await catalog.createVolume(newVolume("other"))
        await expectError(.alreadyExists, "other parameters") {
            _ = try await catalog.createVolume(newVolume("other", parameters: VolumeParameters(compressionLevel: 2)))
        }
    }

    /// Whatever comes between any two steps of a modification is not undone by it, and does not undo it.
    @Test func concurrentChangesAreNotLost() async throws {
        for index in 0..<20 {
            let name = "pvc-\(index)"
            let volume = try await catalog.createVolume(newVolume(name)).volume
            let wasReached = try await store.interrupting(at: index) { [catalog] in
                _ = try await catalog.expandVolume(volume, requiredBytes: 128 << 20, limitBytes: 0)
                _ = try await catalog.modifyVolume(volume, to: ["retention": "all"])
            } _: {
                _ = try await catalog.modifyVolume(volume, to: ["compressionLevel": "9"])
            }
            let record = try await catalog.volume(volume).record
            #expect(record.parameters.compressionLevel == 9)
            guard wasReached else { break }
            #expect(record.capacityBytes == 128 << 20 && record.parameters.retention == .all, "at step \(index)")
        }
    }

    @Test func aDeletionIsNotUndone() async throws {
        for index in 0..<20 {
            let volume = try await catalog.createVolume(newVolume("pvc-\(index)")).volume
            let wasReached = try await store.interrupting(at: index) { [catalog] in
                try await catalog.deleteVolume(volume)
            } _: {
                do {
                    _ = try await catalog.modifyVolume(volume, to: ["compressionLevel": "9"])
                } catch {
                    #expect((error as? PerSSDError)?.code == .notFound, "\(error)")
                }
            }
            guard wasReached else { break }
            await expectError(.notFound) { _ = try await catalog.volume(volume) }
        }
    }
}

import CSI
import CSIController
import Digests
import Errors
import Persistence
import RPC
import Synchronization
import TestSupport
import Testing
import TransferTestSupport

/// The SnapshotMetadata service over a real socket, on maps that stage-outs made.
@Suite struct SnapshotMetadataTests {
    private static let block = 64 << 10

    /// A volume with some generations, each a snapshot: "s1", "s2" and so on; and one of another volume, "other".
    private final class Snapshots: GenerationSource {
        let store: FaultyStore
        let generations: Mutex<[String: SnapshotGeneration]> = Mutex([:])
        private let lineage = String(repeating: "5e", count: 16)
        private let incarnation = Incarnation()

        init(in directory: TemporaryDirectory) async throws {
            store = FaultyStore(try await DirectoryStore.open(directory: directory.path))
        }

        func generation(ofSnapshot id: String) async throws -> SnapshotGeneration? {
            if id == "unready" { throw PerSSDError(.failedPrecondition, "snapshot 'unready' is being staged out") }
            return generations.withLock { $0[id] }
        }

        @discardableResult
        func add(
            _ id: String, _ bytes: [UInt8], number: UInt64, of volume: String = "pvc-1",
            incarnation: Incarnation? = nil
        ) async throws -> SnapshotGeneration {
            let parent = generations.withLock { $0["s\(number - 1)"]?.map.root }
            let options = StageOutOptions(blockSize: .smallest, fanOutLog2: 2)
            let root = try await StageOut(store: store, lineage: lineage, options: options).run(
                source: MemoryVolume(bytes), changed: .unknown, parent: parent
            ).root
            let made = SnapshotGeneration(
                volume: VolumeID(name: volume), incarnation: incarnation ?? self.incarnation, number: number,
                map: StoredMap(root: root, store: store, lineage: lineage))
            generations.withLock { $0[id] = made }
            return made
        }

        /// What a restore of a snapshot makes, and zeros up to `size`.
        func image(_ id: String, size: Int) async throws -> [UInt8] {
            let map = try #require(generations.withLock { $0[id] }).map
            let sink = MemoryVolume([UInt8](repeating: 0, count: size))
            try await Restore(store: map.store, lineage: map.lineage).run(map.root, to: sink, have: .zeros)
            return sink.bytes
        }
    }

    private func withService(
        _ body: (Snapshots, SnapshotMetadataClient) async throws -> Void
    ) async throws {
        try await withTemporaryDirectory { directory in
            let snapshots = try await Snapshots(in: directory)
            let server = RPCServer(snapshotMetadataMethods(SnapshotMetadataPlugin(source: snapshots)))
            let channel = try RPCClient(try await server.listen(on: RPCAddress("unix://" + (directory + "m.sock"))))
            try await body(snapshots, SnapshotMetadataClient(channel))
            await channel.close()
            #expect(await server.shutdown(gracePeriod: .seconds(5)) == 0, "handlers were left")
        }
    }

    /// What a stream said, with what has to hold of every stream.
    private struct Answer {
        var ranges: [Range<Int>] = []
        var batches: [Int] = []
        var capacities: Set<Int64> = []

        mutating func add(_ type: BlockMetadataType, _ capacity: Int64, _ metadata: [BlockMetadata]) {
            #expect(type == .variableLength)
            capacities.insert(capacity)
            batches.append(metadata.count)
            for range in metadata {
                #expect(range.sizeBytes > 0)
                #expect(Int(range.byteOffset) > ranges.last?.upperBound ?? -1, "ranges touch or are out of order")
                ranges.append(Int(range.byteOffset)..<Int(range.byteOffset + range.sizeBytes))
            }
        }
    }

    private func allocated(
        _ client: SnapshotMetadataClient, _ id: String, from offset: Int64 = 0, atMost: Int32 = 0
    ) async throws -> Answer {
        var answer = Answer()
        let request = GetMetadataAllocatedRequest(snapshotID: id, startingOffset: offset, maxResults: atMost)
        for try await part in client.getMetadataAllocated(request) {
            answer.add(part.blockMetadataType, part.volumeCapacityBytes, part.blockMetadata)
        }
        return answer
    }

    private func delta(
        _ client: SnapshotMetadataClient, _ base: String, _ target: String, from offset: Int64 = 0, atMost: Int32 = 0
    ) async throws -> Answer {
        var answer = Answer()
        let request = GetMetadataDeltaRequest(
            baseSnapshotID: base, targetSnapshotID: target, startingOffset: offset, maxResults: atMost)
        for try await part in client.getMetadataDelta(request) {
            answer.add(part.blockMetadataType, part.volumeCapacityBytes, part.blockMetadata)
        }
        return answer
    }

    /// Byte by byte, then as whole blocks.
    private static func compare(_ new: [UInt8], _ old: [UInt8]) -> [Range<Int>] {
        var ranges: [Range<Int>] = []
        for start in stride(from: 0, to: new.count, by: block) {
            let end = min(start + block, new.count)
            guard new[start..<end] != old[start..<end] else { continue }
            if let last = ranges.last, last.upperBound == start {
                ranges[ranges.count - 1] = last.lowerBound..<end
            } else {
                ranges.append(start..<end)
            }
        }
        return ranges
    }

    @Test(arguments: [UInt64](1...3))
    func aDeltaIsWhatAByteComparisonOfTwoRestoredImagesFinds(seed: UInt64) async throws {
        try await withService { snapshots, client in
            var random = SeededGenerator(seed: seed)
            var bytes = [UInt8](repeating: 0, count: 60 * Self.block + 4096)
            for number in 1...4 {
                if number > 2 { bytes += [UInt8](repeating: 0, count: 90 * Self.block + 8192) }
                for _ in 0..<6 {
                    let start = Int.random(in: 0..<bytes.count, using: &random)
                    let end = min(bytes.count, start + Int.random(in: 1...500_000, using: &random))
                    bytes.replaceSubrange(start..<end, with: random.something(end - start))
                }
                try await snapshots.add("s\(number)", bytes, number: UInt64(number))
            }
            for target in 1...4 {
                let size = Int(try #require(snapshots.generations.withLock { $0["s\(target)"] }).map.root.capacityBytes)
                let image = try await snapshots.image("s\(target)", size: size)
                let data = try await allocated(client, "s\(target)", atMost: 2)
                #expect(data.ranges == Self.compare(image, [UInt8](repeating: 0, count: size)))
                #expect(data.capacities == [Int64(size)])
                for base in 1...target {
                    let before = try await snapshots.image("s\(base)", size: size)
                    let expected = Self.compare(image, before)
                    for atMost in [0, 1, 3] as [Int32] {
                        let answer = try await delta(client, "s\(base)", "s\(target)", atMost: atMost)
                        #expect(answer.ranges == expected, "s\(base) to s\(target)")
                        #expect(answer.capacities == [Int64(size)])
                        if atMost > 0 { #expect(answer.batches.allSatisfy { $0 <= atMost }) }
                        if base == target { #expect(answer.batches == [0]) }
                    }
                    // A stream that broke off after any of its ranges goes on behind it.
                    for (number, range) in expected.enumerated() {
                        let rest = try await delta(client, "s\(base)", "s\(target)", from: Int64(range.upperBound))
                        #expect(rest.ranges == Array(expected[(number + 1)...]))
                    }
                    // From within a range: the block there, and what follows.
                    if let longest = expected.max(by: { $0.count < $1.count }) {
                        let offset = Int64(longest.upperBound - 1)
                        let rest = try await delta(client, "s\(base)", "s\(target)", from: offset)
                        let first = try #require(rest.ranges.first)
                        #expect(first.contains(Int(offset)) && first.count <= Self.block)
                    }
                }
            }
        }
    }

    @Test func wrongRequestsAreRefusedAsTheSpecificationSays() async throws {
        try await withService { snapshots, client in
            let bytes = [UInt8](repeating: 1, count: 20 * Self.block)
            try await snapshots.add("s1", bytes, number: 1)
            try await snapshots.add("s2", bytes, number: 2)
            try await snapshots.add("other", bytes, number: 3, of: "pvc-2")
            try await snapshots.add("again", bytes, number: 3, incarnation: Incarnation())
            let size = Int64(bytes.count)

            await expectStatus(.invalidArgument, "snapshot_id is missing") { try await allocated(client, "") }
            await expectStatus(.invalidArgument, "snapshot_id has 129 bytes") {
                try await allocated(client, String(repeating: "s", count: 129))
            }
            await expectStatus(.notFound, "snapshot_id is 'none'") { try await allocated(client, "none") }
            await expectStatus(.failedPrecondition, "being staged out") { try await allocated(client, "unready") }
            await expectStatus(.outOfRange, "starting_offset is -1") { try await allocated(client, "s1", from: -1) }
            await expectStatus(.outOfRange, "\(size) bytes") { try await allocated(client, "s1", from: size + 1) }
            await expectStatus(.outOfRange) { try await allocated(client, "s1", from: .max) }
            await expectStatus(.invalidArgument, "max_results is -1") {
                try await allocated(client, "s1", atMost: -1)
            }
            // At the very end there is nothing, and nothing wrong.
            #expect(try await allocated(client, "s1", from: size).batches == [0])
            #expect(try await allocated(client, "s1", atMost: .max).ranges == [0..<Int(size)])

            await expectStatus(.invalidArgument, "base_snapshot_id is missing") { try await delta(client, "", "s2") }
            await expectStatus(.invalidArgument, "target_snapshot_id is missing") { try await delta(client, "s1", "") }
            await expectStatus(.notFound, "base_snapshot_id is 'none'") { try await delta(client, "none", "s2") }
            await expectStatus(.notFound, "target_snapshot_id is 'none'") { try await delta(client, "s1", "none") }
            await expectStatus(.invalidArgument, "one volume") { try await delta(client, "s1", "other") }
            await expectStatus(.invalidArgument, "made anew") { try await delta(client, "s1", "again") }
            await expectStatus(.invalidArgument, "the older snapshot as the base") {
                try await delta(client, "s2", "s1")
            }
            await expectStatus(.outOfRange) { try await delta(client, "s1", "s2", from: size + 1) }
        }
    }

    /// Every other block of 256: as many ranges as leaves have entries.
    private func addStripes(_ snapshots: Snapshots) async throws {
        var bytes = [UInt8](repeating: 0, count: 256 * Self.block)
        for start in stride(from: Self.block, to: bytes.count, by: 2 * Self.block) { bytes[start] = 1 }
        try await snapshots.add("s1", bytes, number: 1)
        snapshots.store.resetCalls()
    }

    @Test func aClientThatLetsGoEndsTheSearch() async throws {
        try await withService { snapshots, client in
            try await addStripes(snapshots)
            // Not to be had before the client has gone.
            snapshots.store.failRead(40, .stuck)
            for try await part in client.getMetadataAllocated(.init(snapshotID: "s1", maxResults: 1)) {
                #expect(part.blockMetadata.count == 1)
                break
            }
            for _ in 0..<500 where snapshots.store.running > 0 { try await Task.sleep(for: .milliseconds(10)) }
            #expect(snapshots.store.running == 0)
            #expect(snapshots.store.calls.reads < 60)
        }
    }

    @Test func aStoreThatFailsEndsTheStreamWithAnError() async throws {
        try await withService { snapshots, client in
            try await addStripes(snapshots)
            snapshots.store.failRead(40, .before)
            await expectStatus(.unavailable) { try await allocated(client, "s1", atMost: 1) }
        }
    }

    @Test func nothingIsReadAheadForAClientThatDoesNotTakeWhatIsThere() async throws {
        try await withTemporaryDirectory { directory in
            let snapshots = try await Snapshots(in: directory)
            try await addStripes(snapshots)
            let (messages, continuation) = AsyncStream<[UInt8]>.makeStream()
            let writer = SlowWriter(continuation)
            let context = RPCContext(path: "", deadline: nil, metadata: [], peer: "test")
            let call = Task {
                try await SnapshotMetadataPlugin(source: snapshots).getMetadataAllocated(
                    .init(snapshotID: "s1", maxResults: 1), context: context, responses: ResponseWriter(writer))
                continuation.finish()
            }
            var iterator = messages.makeAsyncIterator()
            _ = await iterator.next()
            try await Task.sleep(for: .milliseconds(200))
            let reads = snapshots.store.calls.reads
            #expect(reads < 24, "\(reads) of 85 map nodes were read for the first range")
            writer.open()
            var count = 1
            while await iterator.next() != nil { count += 1 }
            try await call.value
            #expect(count == 128)
        }
    }
}

/// Takes one message, and no other before it is opened.
private final class SlowWriter: RPCWriter {
    private let continuation: AsyncStream<[UInt8]>.Continuation
    private let isOpen = Atomic(false)

    init(_ continuation: AsyncStream<[UInt8]>.Continuation) { self.continuation = continuation }

    func open() { isOpen.store(true, ordering: .releasing) }

    func send(_ message: [UInt8]) async throws {
        continuation.yield(message)
        while !isOpen.load(ordering: .acquiring) { try await Task.sleep(for: .milliseconds(2)) }
    }
}

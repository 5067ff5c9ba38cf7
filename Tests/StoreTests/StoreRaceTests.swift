import Errors
import Foundation
import Persistence
import TestSupport
import Testing

/// Writers that get in each other's way: tasks of one process, and processes.
@Suite struct StoreRaceTests {
    @Test(arguments: StoreKind.allCases)
    func ofFiftyCreatorsOneWins(_ kind: StoreKind) async throws {
        let made = try await kind.make()
        let winners = try await withThrowingTaskGroup(of: UInt8?.self) { group in
            for number in UInt8(0)..<50 {
                group.addTask {
                    let failure = await code {
                        try await made.store.write("race/new", [number], condition: .absent)
                    }
                    try #require(failure == nil || failure == .conflict)
                    return failure == nil ? number : nil
                }
            }
            return try await group.reduce(into: [UInt8]()) { if let number = $1 { $0.append(number) } }
        }
        #expect(winners.count == 1)
        #expect(try await made.store.read("race/new")?.bytes == winners)
    }

    @Test(arguments: StoreKind.allCases)
    func noIncrementOfFiftyTasksIsLost(_ kind: StoreKind) async throws {
        let made = try await kind.make()
        _ = try await made.store.write("race/counter", Array("0 at first".utf8), condition: .absent)
        let attempts = kind.isRemote ? 3 : 10
        let successes = try await withThrowingTaskGroup(of: Int.self) { group in
            for _ in 0..<50 {
                group.addTask { try await increment(made.store, "race/counter", attempts: attempts) }
            }
            return try await group.reduce(0, +)
        }
        #expect(try await counter(made.store, "race/counter") == successes)
        #expect(successes >= attempts)
    }

    @Test(arguments: StoreKind.allCases)
    func noIncrementOfSeveralProcessesIsLost(_ kind: StoreKind) async throws {
        let made = try await kind.make()
        _ = try await made.store.write("race/counter", Array("0 at first".utf8), condition: .absent)
        let directory = try TemporaryDirectory()
        let attempts = kind.isRemote ? "20" : "100"
        var racers: [TestProcess] = []
        for _ in 0..<4 {
            racers.append(try await made.startRacer(["count", "race/counter", attempts], directory: directory))
        }
        var successes = 0
        for racer in racers {
            #expect(try await racer.waitForExit() == 0, "\(racer.output)")
            successes += try #require(Int(racer.output.trimmingCharacters(in: .whitespacesAndNewlines)))
        }
        #expect(try await counter(made.store, "race/counter") == successes)
        #expect(successes >= 20)
    }

    @Test(arguments: StoreKind.allCases)
    func processesThatStartTogetherAgreeOnTheIdentity(_ kind: StoreKind) async throws {
        let made = try await kind.make()
        let directory = try TemporaryDirectory()
        var racers: [TestProcess] = []
        for _ in 0..<4 { racers.append(try await made.startRacer(["identity"], directory: directory)) }
        var identities: Set<String> = []
        for racer in racers {
            #expect(try await racer.waitForExit() == 0, "\(racer.output)")
            identities.insert(racer.output.trimmingCharacters(in: .whitespacesAndNewlines))
        }
        #expect(identities == [try await StoreIdentity.establish(in: made.store).id])
    }

    @Test(arguments: [StoreKind.ext4, .xfs, .tmpfs])
    func anObjectWhoseWritersAreKilledIsWhole(_ kind: StoreKind) async throws {
        let made = try await kind.make()
        let directory = try TemporaryDirectory()
        let size = 300_000
        _ = try await made.store.write("race/torn", [UInt8](repeating: 7, count: size), condition: .absent)
        var seen: Set<UInt8> = []
        for _ in 0..<12 {
            let writers = [
                try await made.startRacer(["rewrite", "race/torn", "\(size)"], directory: directory),
                try await made.startRacer(["rewrite", "race/torn", "\(size)"], directory: directory),
            ]
            let end = ContinuousClock.now + .milliseconds(Int.random(in: 60...160))
            repeat {
                let object = try #require(try await made.store.read("race/torn"))
                #expect(object.bytes.count == size && Set(object.bytes).count == 1)
                seen.insert(object.bytes[0])
            } while ContinuousClock.now < end
            for writer in writers { writer.kill() }
        }
        // They did write, their locks died with them, and what they left half written is no object.
        #expect(seen.count > 3)
        let tag = try #require(try await made.store.info("race/torn")).etag
        _ = try await made.store.write("race/torn", [1], condition: .matches(tag))
        #expect(try await made.store.list(prefix: "", after: nil, limit: 100).map(\.key) == ["race/torn"])
    }

    /// Creation makes folders that removal prunes.
    @Test(arguments: [StoreKind.ext4, .xfs, .tmpfs])
    func creatingAndRemovingInOneFolderGetOnTogether(_ kind: StoreKind) async throws {
        let made = try await kind.make()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<8 {
                group.addTask {
                    let key = try ObjectKey("race/deep/er/\(number)")
                    for round in UInt8(0)..<25 {
                        _ = try await made.store.write(key, [round], condition: round % 2 == 0 ? .absent : .none)
                        try #require(try await made.store.read(key)?.bytes == [round])
                        try await made.store.remove(key)
                        try #require(try await made.store.read(key)?.bytes == nil)
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(try await made.store.listFolders(in: "", after: nil, limit: 10).isEmpty)
    }
}

private func increment(_ store: any ObjectStore, _ key: ObjectKey, attempts: Int) async throws -> Int {
    var successes = 0
    for _ in 0..<attempts {
        let object = try #require(try await store.read(key))
        let old = try #require(value(object))
        // Two writers never write the same, as two holders of a lease do not: a store may take its own bytes for its
        // own write.
        let next = Array("\(old + 1) by \(UInt64.random(in: 0...UInt64.max))".utf8)
        do {
            _ = try await store.write(key, next, condition: .matches(object.etag))
            successes += 1
        } catch let error as PerSSDError where error.code == .conflict {}
    }
    return successes
}

private func counter(_ store: any ObjectStore, _ key: ObjectKey) async throws -> Int? {
    try await store.read(key).flatMap(value)
}

private func value(_ object: StoredObject) -> Int? {
    String(decoding: object.bytes, as: UTF8.self).split(separator: " ").first.flatMap { Int($0) }
}

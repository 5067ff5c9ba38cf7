import CatalogTestSupport
import Errors
import Foundation
import Persistence
import Synchronization
import TransferTestSupport

/// Lets the participants of a simulation call the store one at a time, in an order that follows from a seed; now and then
/// lets one die at a call, and lets time pass.
final class Turns: Sendable {
    enum Verdict { case go, dieBefore, dieAfter }

    /// What a call is in the contest of those who come to need something with those who remove it.
    enum Move {
        /// Writes what pins something, in one of so many cases from an ambush: often where it is seldom done.
        case pin(ambushIn: UInt64)
        /// Writes a lineage's collection record, which says then that all that it names goes.
        case remove
        case other

        init(writing bytes: [UInt8], to path: String) {
            let frequent = ["/generations/", "/branches/", "/head.json"]
            let seldom = ["snapshots/", "pins/", "readers/"]
            self =
                if path.hasSuffix("/collection.json") {
                    String(decoding: bytes, as: UTF8.self).contains("\"removing\"") ? .remove : .other
                } else if frequent.contains(where: path.contains) {
                    .pin(ambushIn: 8)
                } else if seldom.contains(where: path.contains) {
                    .pin(ambushIn: 2)
                } else {
                    .other
                }
        }
    }

    private struct Waiting {
        var participant: Int
        var move: Move
        var continuation: CheckedContinuation<Verdict, Never>
    }
    private struct State {
        var generator: SeededGenerator
        var waiting: [Waiting] = []
        var alive: Set<Int> = []
        var dead: Set<Int> = []
        /// Participants that are not held up at the moment.
        var awake: Set<Int> = []
        /// Who stands still before he pins something, until somebody is about to remove something for the so many-th
        /// time: where neither looked at what the other has written, it is then that something gets lost.
        var ambushes: [Int: UInt64] = [:]
        var isCalling = false
        var joined = 0
        var steps = 0
        var deaths = 0
    }
    private let state: Mutex<State>
    private let clock: TestClock
    private let grace: Double
    /// In every other simulation; without them more is collected, and rewritten.
    private let hasAmbushes: Bool

    init(seed: UInt64, clock: TestClock, grace: Double) {
        state = Mutex(State(generator: SeededGenerator(seed: seed)))
        hasAmbushes = seed % 2 == 0
        self.clock = clock
        self.grace = grace
    }

    var steps: Int { state.withLock { $0.steps } }
    var deaths: Int { state.withLock { $0.deaths } }

    /// A participant begins; whoever died joins as another one.
    func join() -> Int {
        state.withLock { state in
            state.joined += 1
            state.alive.insert(state.joined)
            return state.joined
        }
    }

    func leave(_ participant: Int) {
        state.withLock { state in
            state.alive.remove(participant)
            state.ambushes[participant] = nil
        }
    }
    func isDead(_ participant: Int) -> Bool { state.withLock { $0.dead.contains(participant) } }

    static let death = PerSSDError(.unavailable, "the participant died")

    /// Makes one call of the store when its turn comes.
    func call<Value: Sendable>(
        _ participant: Int, _ move: Move = .other, _ body: () async throws -> Value
    ) async throws -> Value {
        let verdict = await withCheckedContinuation { continuation in
            let isDead = state.withLock { state in
                if !state.dead.contains(participant) {
                    state.waiting.append(Waiting(participant: participant, move: move, continuation: continuation))
                    return false
                }
                return true
            }
            if isDead { continuation.resume(returning: .dieBefore) }
        }
        guard verdict != .dieBefore else { throw Self.death }
        defer { state.withLock { $0.isCalling = false } }
        let value = try await body()
        if verdict == .dieAfter { throw Self.death }
        return value
    }

    /// Gives turns until nobody is left.
    func drive() async {
        while true {
            var patience = 0
            var next: [(CheckedContinuation<Verdict, Never>, Verdict)] = []
            while next.isEmpty {
                let isOver = state.withLock { state in
                    if !state.alive.isEmpty, Self.isReady(state) { next = choose(&state) }
                    return state.alive.isEmpty
                }
                if isOver { return }
                guard next.isEmpty else { break }
                patience += 1
                if patience < 200 { await Task.yield() } else { try? await Task.sleep(for: .microseconds(50)) }
            }
            for (continuation, verdict) in next { continuation.resume(returning: verdict) }
        }
    }

    /// Whether the choice is everybody's: each has a call to make, and none is under way.
    private static func isReady(_ state: State) -> Bool {
        !state.isCalling && state.alive.isSubset(of: Set(state.waiting.map(\.participant)))
    }

    private func choose(_ state: inout State) -> [(CheckedContinuation<Verdict, Never>, Verdict)] {
        state.steps += 1
        // Some stand still for a while, so that the others overtake them by far.
        if state.steps % 25 == 1 || state.awake.isDisjoint(with: state.alive) {
            let alive = state.alive.sorted()
            state.awake = Set(alive.filter { _ in state.generator.next() % 3 > 0 })
            if state.generator.next() % 3 == 0 {
                clock.advance(Double(state.generator.next() % 100) / 80 * grace)
            }
        }
        let moving = state.alive.subtracting(state.ambushes.keys)
        let candidates = [state.awake.intersection(moving), moving, state.alive].first { !$0.isEmpty }!.sorted()
        var participant = candidates[Int(state.generator.next() % UInt64(candidates.count))]
        switch state.waiting.first(where: { $0.participant == participant })?.move {
        case .pin(let chance) where hasAmbushes && !moving.isEmpty && state.generator.next() % chance == 0:
            state.ambushes[participant] = 1 + state.generator.next() % 2
            return []
        case .remove:
            state.ambushes = state.ambushes.mapValues { max($0, 1) - 1 }
            if let first = state.ambushes.filter({ $0.value == 0 }).keys.min() { participant = first }
        default: break
        }
        state.ambushes[participant] = nil
        let own = state.waiting.indices.filter { state.waiting[$0].participant == participant }
        let index = own[Int(state.generator.next() % UInt64(own.count))]
        let chosen = state.waiting.remove(at: index)
        guard state.generator.next() % 300 == 0 else {
            state.isCalling = true
            return [(chosen.continuation, .go)]
        }
        state.deaths += 1
        state.dead.insert(participant)
        let others = state.waiting.filter { $0.participant == participant }
        state.waiting.removeAll { $0.participant == participant }
        let verdict: Verdict = state.generator.next() % 2 == 0 ? .dieBefore : .dieAfter
        state.isCalling = verdict == .dieAfter
        return [(chosen.continuation, verdict)] + others.map { ($0.continuation, .dieBefore) }
    }
}

/// A participant's view of the store.
struct ParticipantStore: ObjectStore {
    let base: MemoryStore
    let turns: Turns
    let participant: Int

    var location: String { base.location }

    func read(_ key: ObjectKey) async throws -> StoredObject? {
        try await turns.call(participant) { try await base.read(key) }
    }
    func read(_ key: ObjectKey, range: Range<UInt64>) async throws -> [UInt8]? {
        try await turns.call(participant) { try await base.read(key, range: range) }
    }
    func info(_ key: ObjectKey) async throws -> ObjectInfo? {
        try await turns.call(participant) { try await base.info(key) }
    }
    func write(_ key: ObjectKey, _ bytes: [UInt8], condition: WriteCondition) async throws -> ETag {
        try await turns.call(participant, .init(writing: bytes, to: key.path)) {
            try await base.write(key, bytes, condition: condition)
        }
    }
    func remove(_ key: ObjectKey) async throws { try await turns.call(participant) { try await base.remove(key) } }
    func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> [ObjectInfo] {
        try await turns.call(participant) { try await base.list(prefix: prefix, after: after, limit: limit) }
    }
    func listFolders(in folder: String, after: String?, limit: Int) async throws -> [String] {
        try await turns.call(participant) { try await base.listFolders(in: folder, after: after, limit: limit) }
    }
    func check() async throws { try await turns.call(participant) { try await base.check() } }
}

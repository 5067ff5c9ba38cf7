import Foundation
import LocalVolumes
import SystemPackage

/// Takes one step after another on three volumes, each a call that the pool has to survive being killed in.
struct Worker {
    let pool: ImagePool
    var states: [String: CopyState] = [:]
    private var random: SmallRandom
    private var generation: UInt64

    init(pool: ImagePool, seed: UInt64) {
        self.pool = pool
        random = SmallRandom(state: seed)
        // Generations go on growing from one run to the next.
        generation = seed * 1_000_000
    }

    mutating func step() async throws {
        let volume = ["a", "b", "c"].randomElement(using: &random)!
        guard var state = states[volume] else {
            let state = CopyState()
            return try await attempt(volume, state) { _ = try await $0.create(state.record(volume)) }
        }
        switch Int.random(in: 0..<11, using: &random) {
        case 0, 1:
            state.epoch += 1
            let record = state.record(volume)
            try await attempt(volume, state) { try await $0.save(record) }
        case 2, 3:
            try await overwrite(volume, &state)
        case 4: _ = try await pool.attach(volume)
        case 5: try await pool.detach(volume)
        case 6 where state.sizeMebibytes < 64:
            state.sizeMebibytes += 1
            let size = state.sizeMebibytes << 20
            try await attempt(volume, state) { try await $0.resize(volume, toBytes: size) }
        case 7 where pool.cutsAreInstant && state.cutByte == nil:
            state.cutByte = state.byte
            try await attempt(volume, state) { _ = try await $0.cut(volume) }
        case 8 where state.cutByte != nil:
            let cut = try await pool.pendingCut(volume)!
            state.cutByte = nil
            if Bool.random(using: &random) { return try await attempt(volume, state) { try await $0.discard(cut) } }
            generation += 1
            let generation = generation
            state.baseGeneration = generation
            try await attempt(volume, state) { try await $0.keep(cut, asBaseFor: generation) }
        case 9 where pool.cutsAreInstant:
            generation += 1
            let generation = generation
            state.baseGeneration = generation
            try await attempt(volume, state) { try await $0.keepCopy(volume, asBaseFor: generation) }
        case 10: try await attempt(volume, nil) { try await $0.remove(volume) }
        default: break
        }
    }

    /// Changes the first byte of the contents.
    mutating func overwrite(_ volume: String, _ state: inout CopyState) async throws {
        state.byte &+= 1
        let byte = state.byte
        try await attempt(volume, state) { pool in
            let device = try FileHandle(forUpdating: URL(fileURLWithPath: try await pool.attach(volume).string))
            try device.write(contentsOf: [UInt8](repeating: byte, count: 4096))
            try device.synchronize()
            try device.close()
        }
    }

    mutating func attempt(
        _ volume: String, _ state: CopyState?, _ call: (ImagePool) async throws -> Void
    ) async throws {
        let text = state?.description ?? "absent"
        say("try \(volume) \(text)")
        try await call(pool)
        say("ok \(volume) \(text)")
        states[volume] = state
    }
}

struct SmallRandom: RandomNumberGenerator {
    var state: UInt64

    /// SplitMix64.
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

import LocalVolumes
import SystemPackage

extension Worker {
    /// Every step that a pool can be asked for, once.
    mutating func sequence(_ volume: String) async throws {
        var state = CopyState()
        let first = state.record(volume)
        try await attempt(volume, state) { _ = try await $0.create(first) }
        _ = try await pool.attach(volume)
        try await overwrite(volume, &state)
        state.epoch += 1
        let second = state.record(volume)
        try await attempt(volume, state) { try await $0.save(second) }
        state.sizeMebibytes += 1
        let size = state.sizeMebibytes << 20
        try await attempt(volume, state) { try await $0.resize(volume, toBytes: size) }
        if pool.cutsAreInstant { try await cuts(volume, &state) }
        try await pool.detach(volume)
        _ = try await pool.attach(volume)
        try await attempt(volume, nil) { try await $0.remove(volume) }
    }

    private mutating func cuts(_ volume: String, _ state: inout CopyState) async throws {
        state.baseGeneration = 10
        try await attempt(volume, state) { try await $0.keepCopy(volume, asBaseFor: 10) }
        state.cutByte = state.byte
        try await attempt(volume, state) { _ = try await $0.cut(volume) }
        try await overwrite(volume, &state)
        let cut = try await pool.pendingCut(volume)!
        (state.cutByte, state.baseGeneration) = (nil, 11)
        try await attempt(volume, state) { try await $0.keep(cut, asBaseFor: 11) }
        state.cutByte = state.byte
        try await attempt(volume, state) { _ = try await $0.cut(volume) }
        state.cutByte = nil
        try await attempt(volume, state) { try await $0.discard(cut) }
    }
}

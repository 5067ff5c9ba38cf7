import Errors
import Testing
import TransferTestSupport

@testable import Persistence

@Suite struct BlockPatchTests {
    private func difference(_ old: [UInt8], _ new: [UInt8]) -> [UInt8]? {
        old.withUnsafeBytes { old in new.withUnsafeBytes { BlockPatch.difference(from: old, to: $0) } }
    }

    private func apply(_ patch: [UInt8], to block: [UInt8]) throws -> [UInt8] {
        var block = block
        try block.withUnsafeMutableBytes { block in
            try patch.withUnsafeBytes { try BlockPatch.apply($0, to: block) }
        }
        return block
    }

    @Test(arguments: [16, 18, 22]) func aChainOfPatchesLeadsToTheNewestBlock(_ log2: Int) throws {
        var random = SeededGenerator(seed: UInt64(log2))
        let size = 1 << log2
        let base = random.noise(size)
        var versions = [base]
        var patches: [[UInt8]] = []
        for _ in 0..<4 {
            var next = versions.last!
            for _ in 0..<5 { next[Int.random(in: 0..<size, using: &random)] ^= 0x55 }
            patches.append(try #require(difference(versions.last!, next)))
            versions.append(next)
        }
        var block = base
        for (patch, version) in zip(patches, versions.dropFirst()) {
            #expect(patch.count <= BlockPatch.headerLength + size / 32768 + 5 * 4096)
            block = try apply(patch, to: block)
            #expect(block == version)
        }
    }

    @Test func thePatchOfAllPagesIsTheLongest() throws {
        let size = BlockSize.smallest.bytes
        let patch = try #require(difference([UInt8](repeating: 1, count: size), [UInt8](repeating: 2, count: size)))
        #expect(patch.count == BlockPatch.maximumLength(.smallest))
        #expect(try apply(patch, to: [UInt8](repeating: 9, count: size)) == [UInt8](repeating: 2, count: size))
    }

    @Test func equalBlocksHaveNoPatch() {
        #expect(difference([UInt8](repeating: 7, count: 65536), [UInt8](repeating: 7, count: 65536)) == nil)
    }

    @Test func thePagesAreWhereTheBitmapSays() throws {
        let old = [UInt8](repeating: 0, count: 65536)
        var new = old
        new[4096 * 9 + 1] = 5
        let patch = try #require(difference(old, new))
        #expect(Array(patch.prefix(10)) == [0x50, 0x50, 1, 0, 16, 12, 0, 0, 0, 2])
        #expect(patch.count == 10 + 4096)
        #expect(patch[11] == 5)
    }

    @Test func damagedAndUnknownPatchesAreRefused() throws {
        let old = [UInt8](repeating: 0, count: 65536)
        var new = old
        new[100] = 1
        let patch = try #require(difference(old, new))
        func code(_ change: (inout [UInt8]) -> Void, to block: [UInt8]? = nil) -> PerSSDError.Code? {
            var changed = patch
            change(&changed)
            return #expect(throws: PerSSDError.self) { try apply(changed, to: block ?? old) }?.code
        }
        #expect(code { $0[0] = 0 } == .corrupt)
        #expect(code { $0[2] = 2 } == .unsupported)
        #expect(code { $0[5] = 13 } == .unsupported)
        #expect(code { $0[6] = 1 } == .unsupported)
        #expect(code { $0[4] = 17 } == .corrupt)
        #expect(code { $0[8] |= 4 } == .corrupt)
        #expect(code { $0.removeLast() } == .corrupt)
        #expect(code { $0.append(0) } == .corrupt)
        #expect(code({ _ in }, to: [UInt8](repeating: 0, count: 131072)) == .corrupt)
        for count in 0..<11 { #expect(code { $0.removeSubrange(count...) } == .corrupt) }
    }
}

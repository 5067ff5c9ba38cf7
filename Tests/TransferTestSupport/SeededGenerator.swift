/// Random numbers that are the same for the same seed, so that a failing test can be run again (SplitMix64).
public struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    public init(seed: UInt64) { state = seed }

    public mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }

    /// Bytes that no compressor makes smaller.
    public mutating func noise(_ count: Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            let bytes = UnsafeMutableRawBufferPointer(buffer)
            var offset = 0
            while offset < count {
                let word = next()
                withUnsafeBytes(of: word.littleEndian) {
                    let part = $0.prefix(count - offset)
                    UnsafeMutableRawBufferPointer(rebasing: bytes[offset..<offset + part.count])
                        .copyBytes(from: part)
                }
                offset += 8
            }
            initialized = count
        }
    }

    /// Bytes of which a compressor saves about half: words out of a small vocabulary between noise.
    public mutating func halfCompressible(_ count: Int) -> [UInt8] {
        let words = (0..<64).map { "entry \($0 * 7919) of the log, " }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count + 4096)
        while bytes.count < count {
            bytes += noise(512)
            let end = bytes.count + 512
            while bytes.count < end { bytes += Array(words[Int(next() % 64)].utf8) }
        }
        return Array(bytes.prefix(count))
    }

    /// Zeros, noise, text or one repeated byte.
    public mutating func something(_ count: Int) -> [UInt8] {
        switch next() % 4 {
        case 0: [UInt8](repeating: 0, count: count)
        case 1: noise(count)
        case 2: halfCompressible(count)
        default: [UInt8](repeating: UInt8(truncatingIfNeeded: next()), count: count)
        }
    }
}

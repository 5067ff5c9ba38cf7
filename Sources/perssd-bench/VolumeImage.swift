import Errors

/// The contents of the volume that is measured: the same for the same seed, on every machine.
///
/// Pieces of 4 to 64 KiB, in turn random bytes and words, so half of it is compressible. No two blocks are equal, and none is
/// all zeros: what a transfer saves, it saves by compression.
struct VolumeImage {
    static let pageBytes = 4096
    private static let words = 1024

    private var random: SplitMix64
    private let vocabulary: [[UInt8]]
    private var pieceLeft = 0
    private var isText = false

    init(seed: UInt64) {
        random = SplitMix64(state: seed)
        var spelling = SplitMix64(state: ~seed)
        vocabulary = (0..<Self.words).map { _ in
            let count = 2 + Int(spelling.next() % 9)
            return (0..<count).map { _ in UInt8(ascii: "a") + UInt8(spelling.next() % 26) } + [UInt8(ascii: " ")]
        }
    }

    /// The next bytes of the contents: whole pages.
    mutating func fill(_ buffer: UnsafeMutableRawBufferPointer) {
        var rest = buffer
        while !rest.isEmpty {
            if pieceLeft == 0 {
                isText.toggle()
                pieceLeft = (1 + Int(random.next() % 16)) * Self.pageBytes
            }
            let count = min(pieceLeft, rest.count)
            let part = UnsafeMutableRawBufferPointer(rebasing: rest[..<count])
            if isText { fillWithWords(part) } else { random.fill(part) }
            pieceLeft -= count
            rest = UnsafeMutableRawBufferPointer(rebasing: rest[count...])
        }
    }

    private mutating func fillWithWords(_ buffer: UnsafeMutableRawBufferPointer) {
        var position = 0
        while position < buffer.count {
            // The product makes the first words the frequent ones, as in any text.
            let draw = random.next()
            let (a, b, c) = (Int(draw & 0x3ff), Int(draw >> 10 & 0x3ff), Int(draw >> 20 & 0x3ff))
            let word = vocabulary[a * b * c / (Self.words * Self.words)]
            let count = min(word.count, buffer.count - position)
            for index in 0..<count { buffer[position + index] = word[index] }
            position += count
        }
    }
}

/// Which pages a small change rewrites, and with what.
struct PageChanges {
    /// Ascending.
    let pages: [UInt64]
    private let seed: UInt64

    /// - Throws: `invalidArgument` where more than half of the volume is to change.
    init(seed: UInt64, changedBytes: UInt64, sizeBytes: UInt64) throws {
        let page = UInt64(VolumeImage.pageBytes)
        let (wanted, all) = (changedBytes / page, sizeBytes / page)
        guard wanted <= all / 2 else {
            throw PerSSDError(.invalidArgument, "\(changedBytes) bytes are too many to change of \(sizeBytes)")
        }
        var random = SplitMix64(state: seed)
        var chosen: Set<UInt64> = []
        while chosen.count < Int(wanted) { chosen.insert(random.next() % all) }
        pages = chosen.sorted()
        self.seed = seed
    }

    var ranges: [Range<UInt64>] {
        let page = UInt64(VolumeImage.pageBytes)
        return pages.map { $0 * page..<($0 + 1) * page }
    }

    func fill(_ buffer: UnsafeMutableRawBufferPointer, page: UInt64) {
        // Mixed, so that no page's bytes are a shifted piece of another's.
        var mixer = SplitMix64(state: page)
        var random = SplitMix64(state: mixer.next() ^ seed)
        random.fill(buffer)
    }
}

/// Sebastiano Vigna's generator: fast, and good enough that zstd finds nothing in what it makes.
struct SplitMix64 {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
        return mixed ^ mixed >> 31
    }

    /// - Parameter buffer: a multiple of eight bytes.
    mutating func fill(_ buffer: UnsafeMutableRawBufferPointer) {
        for offset in stride(from: 0, to: buffer.count, by: 8) {
            buffer.storeBytes(of: next().littleEndian, toByteOffset: offset, as: UInt64.self)
        }
    }
}

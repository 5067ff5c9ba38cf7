/// Serialized fields made by hand, right or wrong, in protocol buffers' wire format.
enum WireBytes {
    static func varint(_ value: UInt64) -> [UInt8] {
        var (rest, bytes) = (value, [UInt8]())
        while rest >= 0x80 {
            bytes.append(UInt8(rest & 0x7f) | 0x80)
            rest >>= 7
        }
        return bytes + [UInt8(rest)]
    }

    static func tag(_ number: UInt64, wireType: UInt64) -> [UInt8] { varint(number << 3 | wireType) }

    static func number(_ number: UInt64, _ value: UInt64) -> [UInt8] { tag(number, wireType: 0) + varint(value) }

    static func field(_ number: UInt64, _ contents: [UInt8]) -> [UInt8] {
        tag(number, wireType: 2) + varint(UInt64(contents.count)) + contents
    }

    static func text(_ number: UInt64, _ contents: String) -> [UInt8] { field(number, Array(contents.utf8)) }

    static func entry(_ number: UInt64, _ key: String, _ value: String) -> [UInt8] {
        field(number, text(1, key) + text(2, value))
    }
}

/// Numbers that are the same in each run of the tests (SplitMix64, by S. Vigna, public domain algorithm).
struct SeededNumbers: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }

    /// The bytes with one to four changes: bits flipped, and bytes changed, put in, cut out or repeated.
    mutating func damaged(_ bytes: [UInt8]) -> [UInt8] {
        var bytes = bytes
        for _ in 0...Int.random(in: 0...3, using: &self) {
            let place = Int.random(in: 0...bytes.count, using: &self)
            let end = Int.random(in: place...bytes.count, using: &self)
            switch Int.random(in: 0...4, using: &self) {
            case 0 where place < bytes.count: bytes[place] ^= 1 << UInt8.random(in: 0...7, using: &self)
            case 1 where place < bytes.count: bytes[place] = UInt8.random(in: 0...255, using: &self)
            case 2: bytes.insert(UInt8.random(in: 0...255, using: &self), at: place)
            case 3: bytes.removeSubrange(place..<min(end, place + 5))
            default: bytes.insert(contentsOf: bytes[place..<min(end, place + 40)], at: place)
            }
        }
        return bytes
    }
}

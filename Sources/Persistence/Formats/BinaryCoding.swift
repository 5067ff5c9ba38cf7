import Errors

/// Writes the little-endian fields of a format.
struct BinaryWriter {
    private(set) var bytes: [UInt8]

    init(capacity: Int = 0) {
        bytes = []
        bytes.reserveCapacity(capacity)
    }

    mutating func integer<Integer: FixedWidthInteger & Sendable>(_ value: Integer) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }

    mutating func raw(_ values: some Sequence<UInt8>) { bytes.append(contentsOf: values) }
}

/// Reads the little-endian fields of a format out of bytes that nobody vouches for.
struct BinaryReader {
    private let bytes: UnsafeRawBufferPointer
    private(set) var position = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    var remaining: Int { bytes.count - position }

    mutating func integer<Integer: FixedWidthInteger & BitwiseCopyable>(_: Integer.Type = Integer.self) throws
        -> Integer
    {
        let size = MemoryLayout<Integer>.size
        try need(size)
        defer { position += size }
        return Integer(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: Integer.self))
    }

    mutating func raw(_ count: Int) throws -> UnsafeRawBufferPointer {
        try need(count)
        defer { position += count }
        return UnsafeRawBufferPointer(rebasing: bytes[position..<position + count])
    }

    /// A field that this version of the format has no use for, and a later one may: anything but zero is refused.
    mutating func zero(_ count: Int, _ name: String) throws {
        guard try raw(count).allSatisfy({ $0 == 0 }) else {
            throw PerSSDError(
                .unsupported, "\(name) is not zero, which this version does not know",
                remedy: "use the version of PerSSD that wrote it, or a newer one")
        }
    }

    mutating func magic(_ expected: StaticString, _ name: String) throws {
        let found = try raw(expected.utf8CodeUnitCount)
        let matches = expected.withUTF8Buffer { $0.elementsEqual(found) }
        guard matches else { throw PerSSDError(.corrupt, "\(name) does not begin with its magic bytes") }
    }

    mutating func version(_ known: UInt16, of name: String) throws {
        let version: UInt16 = try integer()
        guard version == known else {
            throw PerSSDError(
                .unsupported, "\(name) has format version \(version), and this version of PerSSD knows only \(known)",
                remedy: "use the version of PerSSD that wrote it, or a newer one")
        }
    }

    func end(_ name: String) throws {
        guard remaining == 0 else { throw PerSSDError(.corrupt, "\(name) has \(remaining) bytes too many") }
    }

    private func need(_ count: Int) throws {
        guard count >= 0, remaining >= count else {
            throw PerSSDError(.corrupt, "ends \(count - remaining) bytes too early")
        }
    }
}

import Errors

/// A message of the CSI protocol (proto/csi.proto).
///
/// What a message shows of itself, by `print`, `dump`, `String(reflecting:)`, interpolation or a mirror, has the
/// contents of its secret fields taken out.
public protocol CSIMessage:
    Sendable, Equatable, CustomReflectable, CustomStringConvertible, CustomDebugStringConvertible
{
    /// As the specification names it: "csi.v1.CreateVolumeRequest".
    static var fullName: String { get }

    /// Reads the protocol buffers' wire format. Fields that are not known are skipped.
    ///
    /// - Throws: `invalidArgument`, naming the field, where the bytes are malformed, or a string is not UTF-8 or
    ///   holds a NUL.
    static func decode(_ bytes: [UInt8]) throws(PerSSDError) -> Self

    /// The same message gives the same bytes: entries of maps are sorted by their keys.
    ///
    /// - Throws: `invalidArgument`, naming the field, where a string holds a NUL.
    func encode() throws(PerSSDError) -> [UInt8]
}

/// An enum of the CSI protocol. Values that this version does not know are kept as numbers.
public protocol CSIEnum: RawRepresentable<Int32>, Hashable, CaseIterable, Sendable, CustomStringConvertible {
    init(rawValue: Int32)

    /// As the specification writes it: "SINGLE_NODE_WRITER"; the number where it is not known.
    var name: String { get }
}

extension CSIEnum {
    public var description: String { name }
}

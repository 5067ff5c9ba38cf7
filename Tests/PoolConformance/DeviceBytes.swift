import Foundation
import LinuxSystem
import SystemPackage

/// What tests write to devices and expect to read again.
enum DeviceBytes {
    static func write(_ byte: UInt8, _ range: Range<UInt64>, to path: FilePath) throws {
        let file = try OpenFile(path, O_RDWR)
        let bytes = [UInt8](repeating: byte, count: 1 << 20)
        var position = range.lowerBound
        while position < range.upperBound {
            let count = min(UInt64(bytes.count), range.upperBound - position)
            try bytes.prefix(Int(count)).withUnsafeBytes { try file.write(at: position, from: $0) }
            position += count
        }
        try file.sync()
    }

    /// Whether all of the range holds the byte.
    static func holds(_ byte: UInt8, _ range: Range<UInt64>, in path: FilePath) throws -> Bool {
        let file = try OpenFile(path, O_RDONLY)
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        var position = range.lowerBound
        while position < range.upperBound {
            let count = Int(min(UInt64(bytes.count), range.upperBound - position))
            let read = try bytes.withUnsafeMutableBytes {
                try file.read(at: position, into: UnsafeMutableRawBufferPointer(rebasing: $0[..<count]))
            }
            guard read == count, bytes.prefix(count).allSatisfy({ $0 == byte }) else { return false }
            position += UInt64(count)
        }
        return true
    }

    static func writeLine(_ line: String) {
        try? FileHandle.standardOutput.write(contentsOf: Data((line + "\n").utf8))
    }
}

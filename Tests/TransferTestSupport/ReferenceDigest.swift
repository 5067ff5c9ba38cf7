import Digests
import Persistence

/// The content digest of a whole volume, worked out from its bytes alone, as docs/formats.md says, with no code of the
/// module that is tested.
public func referenceContentDigest(_ volume: [UInt8], blockSize: Int, fanOutLog2: Int) -> Digest {
    let blockLog2 = UInt8(blockSize.trailingZeroBitCount)
    let fanOut = 1 << fanOutLog2
    var digests: [Digest?] = stride(from: 0, to: volume.count, by: blockSize).map { start in
        var block = Array(volume[start..<min(start + blockSize, volume.count)])
        guard block.contains(where: { $0 != 0 }) else { return nil }
        block += [UInt8](repeating: 0, count: blockSize - block.count)
        return SHA256.digest(block)
    }
    var levels = 0
    repeat {
        let head: [UInt8] = levels == 0 ? [0x4c, blockLog2] : [0x49, UInt8(levels)]
        digests = stride(from: 0, to: digests.count, by: fanOut).map { start in
            let children = digests[start..<min(start + fanOut, digests.count)]
            guard children.contains(where: { $0 != nil }) else { return nil }
            var text = head
            for (slot, child) in children.enumerated() {
                guard let child else { continue }
                text += [UInt8(slot & 255), UInt8(slot >> 8)] + child.bytes
            }
            return SHA256.digest(text)
        }
        levels += 1
    } while digests.count > 1 || levels < 2
    var text: [UInt8] = [0x56, blockLog2, UInt8(fanOutLog2), UInt8(levels)]
    for byte in 0..<8 { text.append(UInt8(truncatingIfNeeded: volume.count >> (8 * byte))) }
    return SHA256.digest(text + (digests[0]?.bytes ?? [UInt8](repeating: 0, count: 32)))
}

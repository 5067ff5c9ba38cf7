import Errors
import Testing

@testable import Persistence

@Suite struct MapGeometryTests {
    @Test func blockSizesArePowersOfTwoFrom64KiBTo4MiB() throws {
        for log2 in 16...22 { #expect(try BlockSize(bytes: 1 << log2).bytes == 1 << log2) }
        for bytes in [0, -1, 1, 1 << 15, 1 << 23, 65537, 3 << 16, Int.max, Int.min] {
            #expect(throws: PerSSDError.self) { try BlockSize(bytes: bytes) }
        }
        #expect(try BlockSize(bytes: 1 << 16).description == "64 KiB")
        #expect(try BlockSize(bytes: 1 << 22).description == "4 MiB")
    }

    struct Shape: Sendable {
        var capacity: UInt64
        var blocks: UInt64
        var levels: Int
    }
    static let shapes: [Shape] = [
        Shape(capacity: 1, blocks: 1, levels: 2), Shape(capacity: 65536, blocks: 1, levels: 2),
        Shape(capacity: 65537, blocks: 2, levels: 2), Shape(capacity: 1_048_576, blocks: 16, levels: 2),
        Shape(capacity: 1_048_577, blocks: 17, levels: 3), Shape(capacity: 4_194_304, blocks: 64, levels: 3),
        Shape(capacity: 4_194_305, blocks: 65, levels: 4),
        Shape(capacity: MapGeometry.maximumCapacity, blocks: 1 << 44, levels: 22),
    ]

    @Test(arguments: shapes) func levelsAreAsFewAsCoverAllBlocks(_ shape: Shape) throws {
        let (capacity, blocks, levels) = (shape.capacity, shape.blocks, shape.levels)
        let geometry = try MapGeometry(blockSize: .smallest, capacityBytes: capacity, fanOutLog2: 2)
        #expect(geometry.blockCount == blocks)
        #expect(geometry.levels == levels)
        #expect(geometry.blocks(level: levels - 1, index: 0) == 0..<blocks)
    }

    @Test func aTebibyteHasThreeLevels() throws {
        let geometry = try MapGeometry(blockSize: .standard, capacityBytes: 1 << 40)
        #expect(geometry.levels == 3)
        #expect(geometry.fanOut == 512)
    }

    @Test func impossibleShapesAreRefused() {
        let shapes: [(UInt64, UInt8)] = [(0, 9), (MapGeometry.maximumCapacity + 1, 9), (1, 1), (1, 11)]
        for (capacity, fanOut) in shapes {
            #expect(throws: PerSSDError.self) {
                try MapGeometry(blockSize: .standard, capacityBytes: capacity, fanOutLog2: fanOut)
            }
        }
    }

    @Test func nodesCoverTheirBlocksUpToTheEnd() throws {
        let end: UInt64 = 22 * 65536
        let geometry = try MapGeometry(blockSize: .smallest, capacityBytes: end + 1, fanOutLog2: 2)
        #expect(geometry.blocks(level: 0, index: 5) == 20..<23)
        #expect(geometry.blocks(level: 0, index: 6).isEmpty)
        #expect(geometry.blocks(level: 1, index: 1) == 16..<23)
        #expect(geometry.bytes(of: 22..<23) == end..<end + 1)
        #expect(geometry.blocks(touching: 65535..<65537) == 0..<2)
        #expect(geometry.blocks(touching: 7..<7).isEmpty)
    }
}

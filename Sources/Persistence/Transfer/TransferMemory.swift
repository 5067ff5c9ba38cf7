/// How the memory of a transfer is shared out, so that it stays below 256 MiB whatever the volume and the options.
enum TransferMemory {
    /// For packs that fill or are on their way.
    static let forPacks = 136 << 20
    /// For what the workers hold.
    static let forWorkers = 88 << 20

    /// What a worker reads at once: enough that a device works at its full rate, and a whole number of blocks.
    static func extentBytes(blockBytes: Int) -> Int { max(1 << 20, blockBytes) }

    /// As many packs as asked for, as far as there is memory, but always one that fills while another is on its way.
    static func packs(_ wanted: Int, packBytes: Int) -> Int { max(2, min(wanted, forPacks / packBytes)) }

    /// As many workers as asked for, as far as there is memory for their buffers and compressors.
    ///
    /// - Parameter level: of compression; nil where nothing is compressed.
    static func workers(_ wanted: Int, blockBytes: Int, level: Int?) -> Int {
        let buffers = extentBytes(blockBytes: blockBytes) + 2 * blockBytes
        return max(1, min(wanted, forWorkers / (buffers + compressorBytes(level: level, blockBytes: blockBytes))))
    }

    /// A little more than zstd 1.5 takes, measured for blocks of 64 KiB to 4 MiB at all levels.
    private static func compressorBytes(level: Int?, blockBytes: Int) -> Int {
        switch level {
        case nil: 256 << 10
        case .some(...3): 3 << 19
        case .some(...6): 4 << 20
        default: (2 << 20) + 16 * blockBytes
        }
    }
}

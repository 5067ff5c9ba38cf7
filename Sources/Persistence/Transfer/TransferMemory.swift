/// How the memory of a transfer is shared out, so that it stays below 256 MiB whatever the options.
enum TransferMemory {
    /// What a worker reads at once: enough that a device works at its full rate, and a whole number of blocks.
    static func extentBytes(blockBytes: Int) -> Int { max(1 << 20, blockBytes) }

    /// As many workers as asked for, as far as their buffers fit into 64 MiB.
    static func workers(_ wanted: Int, blockBytes: Int) -> Int {
        max(1, min(wanted, (64 << 20) / (extentBytes(blockBytes: blockBytes) + 2 * blockBytes)))
    }
}

import Blocking
import Synchronization
import Zstandard

/// Memory that a device can be read into without a detour: page aligned, never grown.
final class AlignedBuffer {
    static let alignment = 4096
    let bytes: UnsafeMutableRawBufferPointer

    init(count: Int) { bytes = .allocate(byteCount: count, alignment: Self.alignment) }
    deinit { bytes.deallocate() }
}

/// What one worker thread needs: buffers and codecs, made at first use and used for every block.
final class WorkBench {
    /// Plain bytes of blocks.
    private(set) lazy var plain = AlignedBuffer(count: plainBytes)
    /// What compression, or a patch, makes of one block.
    private(set) lazy var scratch = AlignedBuffer(count: scratchBytes)
    /// A block of the parent generation, to make a patch against.
    private(set) lazy var base = AlignedBuffer(count: scratchBytes)
    private let plainBytes: Int
    private let scratchBytes: Int
    private let level: Int
    private var madeCompressor: ZstdCompressor?
    private var madeDecompressor: ZstdDecompressor?

    init(plainBytes: Int, scratchBytes: Int, level: Int) {
        self.plainBytes = plainBytes
        self.scratchBytes = scratchBytes
        self.level = level
    }

    func compressor() throws -> ZstdCompressor {
        if let madeCompressor { return madeCompressor }
        let compressor = try ZstdCompressor(level: level)
        madeCompressor = compressor
        return compressor
    }

    func decompressor() throws -> ZstdDecompressor {
        if let madeDecompressor { return madeDecompressor }
        let decompressor = try ZstdDecompressor()
        madeDecompressor = decompressor
        return decompressor
    }
}

/// The worker threads of one transfer, and a bench for each: they read, hash, compress and write, while tasks talk to the
/// store. The threads end when this is let go.
final class WorkBenches: Sendable {
    /// A bench is used by one thread at a time: whoever took it from the free ones.
    private struct Idle: @unchecked Sendable {
        var bench: WorkBench
    }
    private let threads: BlockingPool
    private let idle = Mutex<[Idle]>([])
    private let make: @Sendable () -> WorkBench

    init(count: Int, plainBytes: Int, scratchBytes: Int, level: Int = 1) {
        threads = BlockingPool(label: "transfer", maximumThreads: count)
        make = { WorkBench(plainBytes: plainBytes, scratchBytes: scratchBytes, level: level) }
    }

    /// Runs `body` on a worker thread, unless the task is cancelled before a thread is free.
    func run<Value: Sendable>(_ body: @escaping @Sendable (WorkBench) throws -> Value) async throws -> Value {
        let cancelled = Flag()
        return try await withTaskCancellationHandler {
            try await threads.run { [self] in
                guard !cancelled.isSet else { throw CancellationError() }
                let bench = idle.withLock { $0.popLast() } ?? Idle(bench: make())
                defer { idle.withLock { $0.append(bench) } }
                return try body(bench.bench)
            }
        } onCancel: {
            cancelled.set()
        }
    }
}

/// Set once, seen by all threads.
final class Flag: Sendable {
    private let state = Atomic<Bool>(false)
    var isSet: Bool { state.load(ordering: .acquiring) }
    func set() { state.store(true, ordering: .releasing) }
}

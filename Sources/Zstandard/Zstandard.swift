import CZstd
import Errors

/// One thread's zstd compressor: the working memory is made once and used for every block.
public final class ZstdCompressor {
    private let context: OpaquePointer
    public let level: Int

    /// - Parameter level: 1 (fast) to 19 (small).
    public init(level: Int) throws {
        guard (1...19).contains(level) else {
            throw PerSSDError(
                .invalidArgument, "compression level \(level) is outside 1 to 19", remedy: "choose a level from 1 to 19"
            )
        }
        guard let context = ZSTD_createCCtx() else {
            throw PerSSDError(.resourceExhausted, "no memory for a zstd compressor")
        }
        self.context = context
        self.level = level
    }

    deinit { ZSTD_freeCCtx(context) }

    /// Room that any `count` bytes fit in once compressed.
    public static func bound(_ count: Int) -> Int { ZSTD_compressBound(count) }

    /// Compresses into `output`.
    ///
    /// - Returns: the bytes written, or nil where they would not fit, which is how a caller says how small is worth it.
    public func compress(_ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer) throws -> Int? {
        let written = ZSTD_compressCCtx(
            context, output.baseAddress, output.count, input.baseAddress, input.count, Int32(level))
        guard ZSTD_isError(written) != 0 else { return written }
        if ZSTD_getErrorCode(written) == ZSTD_error_dstSize_tooSmall { return nil }
        throw PerSSDError(.internal, "zstd cannot compress: \(String(cString: ZSTD_getErrorName(written)))")
    }
}

/// One thread's zstd decompressor.
public final class ZstdDecompressor {
    private let context: OpaquePointer

    public init() throws {
        guard let context = ZSTD_createDCtx() else {
            throw PerSSDError(.resourceExhausted, "no memory for a zstd decompressor")
        }
        self.context = context
    }

    deinit { ZSTD_freeDCtx(context) }

    /// Decompresses a frame that must fill `output` exactly.
    ///
    /// - Throws: `corrupt` where the bytes are no zstd frame, or one of another length.
    public func decompress(_ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer) throws {
        let written = ZSTD_decompressDCtx(
            context, output.baseAddress, output.count, input.baseAddress, input.count)
        if ZSTD_isError(written) != 0 {
            throw PerSSDError(.corrupt, "not valid zstd: \(String(cString: ZSTD_getErrorName(written)))")
        }
        guard written == output.count else {
            throw PerSSDError(.corrupt, "decompresses to \(written) bytes where \(output.count) were written")
        }
    }
}

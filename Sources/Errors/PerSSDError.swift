/// An error that a caller, an operator or a user can act on.
///
/// The message says what is wrong and where; the remedy says what to do. Causes nest, so that the whole story is kept
/// from the system call up to the volume.
public struct PerSSDError: Error, Sendable {
    /// The kind of an error. `CSI` maps each to one gRPC status code, in one place.
    public enum Code: String, Sendable, CaseIterable {
        /// The caller's input is malformed or contradicts itself.
        case invalidArgument
        /// What was named does not exist.
        case notFound
        /// It exists already, with other properties.
        case alreadyExists
        /// The request is well-formed, but the state of the volume, node or store forbids it.
        case failedPrecondition
        /// A conditional write lost: somebody else changed the object. Read it again and decide anew.
        case conflict
        /// Work goes on, or must be tried again; the message carries the progress.
        case aborted
        /// A size or a number is outside what can be provided.
        case outOfRange
        /// A pool, a disk or a bucket is full.
        case resourceExhausted
        /// An outside party (store, device, tool) does not answer or fails in passing; a retry may succeed.
        case unavailable
        /// The bucket, or the directory, that everything is in is not there. Says nothing of what was named in it.
        case storeMissing
        /// This machine has not what a pool is made of: drives that are free, tools, or a part of the kernel. Nothing is wrong
        /// with what is stored, and nothing with what was asked for.
        case poolMissing
        /// Who we are is not known to the outside party: wrong or missing credentials.
        case unauthenticated
        /// The outside party knows us and says no.
        case permissionDenied
        /// Stored bytes are missing or are not what was written. Never served, never overwritten.
        case corrupt
        /// Not built, or not supported by this version: an unknown format version, kind or option.
        case unsupported
        /// The caller went away.
        case cancelled
        /// The caller's time ran out.
        case deadlineExceeded
        /// A defect in PerSSD itself.
        case `internal`
    }

    public var code: Code
    /// What is wrong, and where.
    public var message: String
    /// What the reader can do about it.
    public var remedy: String?
    /// What led to it.
    public var cause: (any Error)?

    public init(_ code: Code, _ message: String, remedy: String? = nil, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.remedy = remedy
        self.cause = cause
    }

    /// The same error, as the cause of one that says where it happened. The code stays, unless another is given.
    public func during(_ action: String, code: Code? = nil) -> PerSSDError {
        PerSSDError(code ?? self.code, action, cause: self)
    }

    /// Any error as a value of this type; what is not one becomes the cause of an internal error, and a
    /// `CancellationError` becomes `cancelled`.
    public init(wrapping error: any Error, during action: String? = nil) {
        switch error {
        case let error as PerSSDError:
            self = action.map { error.during($0) } ?? error
        case is CancellationError:
            self.init(.cancelled, action.map { "\($0) was cancelled" } ?? "cancelled")
        default:
            self.init(.internal, action ?? "unexpected error", cause: error)
        }
    }

    /// This error and its causes, outermost first.
    public var chain: [any Error] {
        var errors: [any Error] = [self]
        var next = cause
        while let error = next {
            errors.append(error)
            next = (error as? PerSSDError)?.cause
        }
        return errors
    }
}

extension PerSSDError: CustomStringConvertible {
    /// The messages of the whole chain, then the remedies: one line, fit for a log and for a gRPC status.
    public var description: String {
        let story = chain.map { ($0 as? PerSSDError)?.message ?? String(describing: $0) }.joined(separator: ": ")
        let remedies = chain.compactMap { ($0 as? PerSSDError)?.remedy }
        return remedies.isEmpty ? story : story + " (" + remedies.joined(separator: "; ") + ")"
    }
}

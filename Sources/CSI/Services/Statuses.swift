import Errors
import RPC

extension RPCStatus {
    /// What the caller of an RPC is told of an error: the one place where domain errors become gRPC statuses.
    ///
    /// A status passes as it is. The message is the error's description, on one line and bounded, since it travels in
    /// HTTP/2 trailers. Of an error that is neither a `PerSSDError` nor a status only the type's name is told, so that
    /// nothing leaks.
    public init(_ error: any Error) {
        switch error {
        case let status as RPCStatus:
            self.init(status.code, Self.boundedLine(status.message), details: status.details)
        case let error as PerSSDError:
            self.init(Code(error.code), Self.boundedLine(error.description))
        case is CancellationError:
            self.init(.cancelled, "the call was cancelled")
        default:
            self.init(.internal, "unexpected error of type \(type(of: error)); the plugin's log has more")
        }
    }

    /// The answer to a call that the plugin does not have.
    public init(unimplemented method: String) {
        self.init(.unimplemented, "\(method) is not supported by this plugin")
    }

    /// The longest message in bytes as they travel: gRPC writes what is not printable ASCII, and "%", as three bytes
    /// each. Clients take 8 KiB of trailers by default, which other metadata has to fit in, too.
    static let maximumMessageBytes = 4000

    /// The text on one line, control characters replaced by spaces, and cut where it is too long.
    static func boundedLine(_ text: String) -> String {
        let ellipsis = " ..."
        var line = String.UnicodeScalarView()
        var (bytes, end) = (0, String.UnicodeScalarView.Index?.none)
        for scalar in text.unicodeScalars {
            let isControl = scalar.properties.generalCategory == .control
            let isLineEnd = scalar.value == 0x2028 || scalar.value == 0x2029
            let scalar = isControl || isLineEnd ? " " : scalar
            bytes += scalar.isASCII && scalar != "%" ? 1 : 3 * UTF8.width(scalar)
            if bytes > maximumMessageBytes - ellipsis.count, end == nil { end = line.endIndex }
            if bytes > maximumMessageBytes, let end { return String(line[..<end]) + ellipsis }
            line.append(scalar)
        }
        return String(line)
    }
}

extension RPCStatus.Code {
    /// The specification's own meanings (CSI v1.12.0, "Error Scheme") decide where gRPC's leave a choice.
    public init(_ code: PerSSDError.Code) {
        switch code {
        case .invalidArgument: self = .invalidArgument
        case .notFound: self = .notFound
        case .alreadyExists: self = .alreadyExists
        case .failedPrecondition, .poolMissing: self = .failedPrecondition
        // To the caller, a lost race is work in progress on the same volume: it tries again later.
        case .conflict, .aborted: self = .aborted
        case .outOfRange: self = .outOfRange
        case .resourceExhausted: self = .resourceExhausted
        // UNAUTHENTICATED would blame the caller's secrets. The credentials that are wrong here are the plugin's own,
        // towards the bucket: the operator replaces them, and the orchestrator's retry succeeds.
        // NOT_FOUND would say that the volume is gone.
        case .unavailable, .unauthenticated, .storeMissing: self = .unavailable
        case .permissionDenied: self = .permissionDenied
        case .corrupt: self = .dataLoss
        // UNIMPLEMENTED would say that the call as such is missing, and some orchestrators then never make it again.
        // What is not supported here is the volume's format or kind: no retry helps until somebody acts.
        case .unsupported: self = .failedPrecondition
        case .cancelled: self = .cancelled
        case .deadlineExceeded: self = .deadlineExceeded
        case .internal: self = .internal
        }
    }
}

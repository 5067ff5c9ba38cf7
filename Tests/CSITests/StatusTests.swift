import Errors
import RPC
import Testing

@testable import CSI

/// Errors as the callers of RPCs see them.
@Suite struct StatusTests {
    @Test func everyCodeHasItsStatus() {
        let expected: [PerSSDError.Code: RPCStatus.Code] = [
            .invalidArgument: .invalidArgument, .notFound: .notFound, .alreadyExists: .alreadyExists,
            .failedPrecondition: .failedPrecondition, .poolMissing: .failedPrecondition, .conflict: .aborted,
            .aborted: .aborted,
            .outOfRange: .outOfRange, .resourceExhausted: .resourceExhausted, .unavailable: .unavailable,
            .unauthenticated: .unavailable, .permissionDenied: .permissionDenied, .corrupt: .dataLoss,
            .unsupported: .failedPrecondition, .cancelled: .cancelled, .deadlineExceeded: .deadlineExceeded,
            .internal: .internal, .storeMissing: .unavailable,
        ]
        #expect(expected.count == PerSSDError.Code.allCases.count)
        for code in PerSSDError.Code.allCases {
            #expect(RPCStatus(PerSSDError(code, "why")) == RPCStatus(expected[code] ?? .ok, "why"))
        }
    }

    @Test func statusTellsTheWholeStory() {
        let cause = PerSSDError(.notFound, "no object volumes/v/head.json", remedy: "check the bucket's prefix")
        let status = RPCStatus(cause.during("cannot read volume v"))
        #expect(status.code == .notFound)
        #expect(
            status.message == "cannot read volume v: no object volumes/v/head.json (check the bucket's prefix)")
    }

    @Test func otherErrorsTellNoMoreThanTheirType() {
        struct Canary: Error { let secret = "canary" }
        #expect(
            RPCStatus(Canary()) == RPCStatus(.internal, "unexpected error of type Canary; the plugin's log has more"))
        #expect(RPCStatus(CancellationError()) == RPCStatus(.cancelled, "the call was cancelled"))
        let status = RPCStatus(.aborted, "staging out: 43%", details: [1, 2, 3])
        #expect(RPCStatus(status as any Error) == status)
    }

    @Test func messagesAreOneLine() {
        let status = RPCStatus(
            PerSSDError(.internal, "one\ntwo\r\nthree\tfour\u{0}five\u{85}six\u{2028}seven\u{1b}[0m"))
        #expect(status.message == "one two  three four five six seven [0m")
    }

    /// gRPC writes what is not printable ASCII, and "%", as three bytes.
    @Test(arguments: ["a", "%", "ä", "€", "💾", "a💾"])
    func messagesAreBounded(piece: String) {
        func wireBytes(_ text: String) -> Int {
            text.utf8.reduce(0) { $0 + ((0x20...0x7e).contains($1) && $1 != UInt8(ascii: "%") ? 1 : 3) }
        }
        for count in [1, 300, 333, 334, 444, 665, 666, 667, 1332, 1333, 1334, 3999, 4000, 4001, 100_000] {
            let text = String(repeating: piece, count: count)
            let message = RPCStatus(PerSSDError(.corrupt, text)).message
            #expect(wireBytes(message) <= 4000)
            if wireBytes(text) <= 4000 {
                #expect(message == text)
            } else {
                #expect(message.hasSuffix(" ..."))
                #expect(text.hasPrefix(message.dropLast(4)))
                #expect(wireBytes(message) > 3980)
            }
        }
    }
}

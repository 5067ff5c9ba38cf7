import Testing

@testable import RPC

@Suite struct RPCStatusTests {
    @Test func namesAndNumbersAreThoseOfGRPC() {
        #expect(RPCStatus.Code.allCases.map(\.rawValue) == Array(0...16))
        #expect(RPCStatus.Code.deadlineExceeded.name == "DEADLINE_EXCEEDED")
        #expect(RPCStatus.Code.internal.name == "INTERNAL")
        #expect(RPCStatus.Code.ok.name == "OK")
        #expect(RPCStatus.Code.unauthenticated.rawValue == 16)
    }

    @Test func aLongMessageIsCutAtACharacterSoThatClientsAcceptIt() {
        let fits = String(repeating: "x", count: RPCStatus.maximumEncodedMessage)
        #expect(RPCStatus.shortened(fits) == fits)
        #expect(RPCStatus.shortened(fits + "x").hasSuffix("x…"))
        let wide = RPCStatus.shortened(String(repeating: "é", count: 4000))
        #expect(wide.hasSuffix("é…"))
        #expect(wide.utf8.count * 3 <= RPCStatus.maximumEncodedMessage)
        #expect(wide.utf8.count * 3 > RPCStatus.maximumEncodedMessage - 6)
    }

    @Test func durationsThatDoNotFitAreClamped() {
        #expect(Duration.milliseconds(1500).nanoseconds == 1_500_000_000)
        #expect(Duration.seconds(Int64.max).nanoseconds == .max)
        #expect(Duration.seconds(-Int64.max).nanoseconds == .min)
    }
}

import Testing

@testable import RPC

@Suite struct OperationGateTests {
    @Test func anEndingWaitsForTheOperationsUnderWayAndComesOnce() {
        var gate = OperationGate<String>()
        let entered = [gate.enter(), gate.enter()]
        #expect(entered == [true, true])
        let ended = [
            gate.close(with: "first"), gate.leave(), gate.enter() ? "let in" : nil, gate.close(with: "second"),
            gate.leave(), gate.close(with: "third"),
        ]
        #expect(ended == [nil, nil, nil, nil, "first", nil])
    }

    @Test func anIdleGateEndsAtOnce() {
        var gate = OperationGate<String>()
        let entered = gate.enter()
        let ended = [gate.leave(), gate.close(with: "end")]
        #expect(entered)
        #expect(ended == [nil, "end"])
    }
}

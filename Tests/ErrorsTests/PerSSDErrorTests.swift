import Errors
import Testing

@Suite struct PerSSDErrorTests {
    @Test func theDescriptionTellsTheWholeStoryAndThenTheRemedies() {
        let root = PerSSDError(.unavailable, "connection refused", remedy: "start the server")
        let error = root.during("cannot read head.json").during("cannot publish volume v1", code: .aborted)
        #expect(error.code == .aborted)
        #expect(
            error.description
                == "cannot publish volume v1: cannot read head.json: connection refused (start the server)")
    }

    @Test func wrappingKeepsTheCodeOfOurOwnErrors() {
        let inner = PerSSDError(.corrupt, "pack 7 is truncated")
        #expect(PerSSDError(wrapping: inner, during: "restore").code == .corrupt)
        #expect(PerSSDError(wrapping: CancellationError()).code == .cancelled)
        struct Stranger: Error {}
        #expect(PerSSDError(wrapping: Stranger()).code == .internal)
    }
}

import Blocking
import Errors

/// Asks for a name before something is done that cannot be undone, so that nobody does it by a slip of the finger.
enum Confirmation {
    /// - Parameters:
    ///   - name: what has to be typed.
    ///   - request: what to type it for: "Type the volume's name, default/data, to revoke the lease:".
    /// - Throws: `failedPrecondition` where something else is typed, or nothing.
    static func require(_ name: String, _ request: String) async throws {
        Output.note(printable(request))
        let answer = try await BlockingPool.shared.run { readLine() }
        guard answer == name else {
            throw PerSSDError(
                .failedPrecondition, "not confirmed: nothing was changed", remedy: "type the name, or give --yes")
        }
    }
}

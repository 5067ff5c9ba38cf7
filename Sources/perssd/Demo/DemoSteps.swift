import Foundation
import Units

/// What each step of the demo took, for the table at its end.
final class DemoSteps {
    struct Step: Encodable, Sendable {
        var title: String
        var seconds: Double
        /// Of the volume's files, where the step is about them.
        var bytes: UInt64?
        var requests: Int
        var sentBytes: UInt64
        var receivedBytes: UInt64
    }

    private(set) var steps: [Step] = []
    private let totals: () -> StoreTotals

    /// - Parameter totals: what all processes together have asked of the store up to now.
    init(totals: @escaping () -> StoreTotals) { self.totals = totals }

    /// Does a step, and tells of it when it is done.
    ///
    /// - Parameter work: returns how many bytes of files it was about, nil where it was about none, and a remark.
    func run(_ title: String, _ work: () async throws -> (bytes: UInt64?, remark: String)) async throws {
        Output.note("\(steps.count + 1). \(title) ...")
        let before = totals()
        let start = ContinuousClock.now
        let (bytes, remark) = try await work()
        let time = ContinuousClock.now - start
        let cost = totals() - before
        steps.append(
            Step(
                title: title, seconds: (time.inSeconds * 1000).rounded() / 1000, bytes: bytes, requests: cost.requests,
                sentBytes: cost.sent, receivedBytes: cost.received))
        Output.note("    \(remark.isEmpty ? "done" : remark) (\(time.text))")
    }

    static func table(_ steps: [Step]) -> String {
        var table = Table([
            ("STEP", .left), ("FILES", .right), ("SECONDS", .right), ("REQUESTS", .right), ("TO BUCKET", .right),
            ("FROM BUCKET", .right),
        ])
        for step in steps {
            table.add([
                step.title, step.bytes.map { ByteCount($0).description } ?? "-", String(format: "%.2f", step.seconds),
                "\(step.requests)", ByteCount(step.sentBytes).description, ByteCount(step.receivedBytes).description,
            ])
        }
        return table.text
    }
}

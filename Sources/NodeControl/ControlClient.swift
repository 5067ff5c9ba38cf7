import Errors
import RPC

/// Speaks to the plugin of the node that this program runs on.
public struct ControlClient: Sendable {
    private let address: RPCAddress

    /// What the plugin may still need to answer when the deadline has passed.
    static let leeway = Duration.seconds(15)

    public init(at address: RPCAddress) { self.address = address }

    /// Flushes the node.
    ///
    /// - Parameters:
    ///   - deadline: how long it may take; nil for as long as it does.
    ///   - progress: told how far it is, about once a second.
    /// - Returns: how it ended.
    /// - Throws: `failedPrecondition` where no plugin answers at the socket; `unavailable` where it ended before the flush did.
    public func flush(
        within deadline: Duration?, progress: @Sendable (FlushReport) -> Void = { _ in }
    ) async throws -> FlushReport {
        let client = try RPCClient(address)
        do {
            let report = try await flush(client, within: deadline, progress)
            await client.close()
            return report
        } catch {
            await client.close()
            throw error
        }
    }

    private func flush(
        _ client: RPCClient, within deadline: Duration?, _ progress: @Sendable (FlushReport) -> Void
    ) async throws -> FlushReport {
        let request = FlushRequest(deadlineSeconds: deadline.map { $0 / .seconds(1) })
        var last: FlushReport?
        do {
            let responses = client.serverStreaming(
                FlushRequest.path, try ControlCoding.encode(request),
                options: RPCCallOptions(timeout: deadline.map { $0 + Self.leeway }))
            for try await bytes in responses {
                let report = try ControlCoding.decode(FlushReport.self, bytes)
                progress(report)
                last = report
            }
        } catch let status as RPCStatus {
            throw Self.error(status, at: address, hasBegun: last != nil)
        }
        guard let last, last.isFinished else { throw Self.ended(at: address) }
        return last
    }

    private static func error(_ status: RPCStatus, at address: RPCAddress, hasBegun: Bool) -> PerSSDError {
        switch status.code {
        case .invalidArgument: return PerSSDError(.invalidArgument, status.message)
        case .cancelled: return PerSSDError(.cancelled, "the flush goes on in the node plugin")
        case .unimplemented:
            return PerSSDError(
                .failedPrecondition, "what answers at \(address) knows no flush",
                remedy: "give --socket the node plugin's control socket, which is not its CSI socket")
        case _ where hasBegun: return ended(at: address)
        default:
            return PerSSDError(
                .failedPrecondition, "no node plugin answers at \(address): \(status.message)",
                remedy: "start the node plugin, give its control socket with --socket, and run this as root")
        }
    }

    private static func ended(at address: RPCAddress) -> PerSSDError {
        PerSSDError(
            .unavailable, "the node plugin at \(address) has ended, or does not answer, before the flush was done",
            remedy: "what is not committed stays on the node; flush again when the plugin runs")
    }
}

import Errors
import KubernetesEvents
import Logging
import Metering
import ServiceLifecycle
import Settings
import VolumeEvents

/// The events that a plugin posts to pods and claims, as a part of its process.
public struct EventPosting: Service {
    private let poster: EventPoster?

    /// Where a plugin tells its events.
    public var sink: EventSink { poster?.sink ?? .none }

    /// Where there is nothing to post with, the log says so, and the plugin does without.
    ///
    /// - Parameters:
    ///   - reporter: the driver's name.
    ///   - instance: which of its processes.
    init(_ settings: KubernetesSettings, reporter: String, instance: String, logger: Logger) {
        // From the beginning, so that the first one is an increase.
        for outcome in EventPoster.Outcome.allCases { Instruments.events.add(0, outcome.rawValue) }
        guard settings.events == .auto else {
            poster = nil
            return
        }
        do {
            let server = try APIServer.find(
                url: settings.apiServer, tokenFile: settings.tokenFile,
                certificateAuthorities: settings.certificateAuthorities)
            poster = try EventPoster(server, reporter: reporter, instance: instance, logger: logger)
            logger.info("events about volumes are posted", metadata: ["server": "\(server.url)"])
        } catch {
            let error = PerSSDError(wrapping: error)
            // Outside of a cluster nobody misses them.
            logger.log(
                level: error.code == .notFound ? .info : .warning, "no events are posted to pods and claims: \(error)")
            poster = nil
        }
    }

    public func run() async throws {
        // The service's end would be the process's.
        guard let poster else { return (try? await gracefulShutdown()) ?? () }
        await cancelWhenGracefulShutdown { await poster.run() }
    }
}

import Errors
import Logging
import Persistence
import Units

/// Collects garbage at intervals, where nobody else does.
///
/// Every controller on the store looks now and then when a collection was last begun, by whichever process, and begins the
/// next when that is long enough ago. Should two of them begin at once, both do: collections may run side by side.
public struct PeriodicCollection: Sendable {
    private let catalog: Catalog
    private let collection: GarbageCollection
    private let interval: Duration
    private let pause: Duration
    private let logger: Logger

    /// - Parameters:
    ///   - interval: from the beginning of one collection to the next.
    ///   - grace: how long what is condemned stays.
    ///   - pause: between two looks; nil for what suits the interval.
    public init(
        catalog: Catalog, interval: Duration, grace: Duration, pause: Duration? = nil, logger: Logger
    ) {
        self.catalog = catalog
        self.interval = interval
        self.logger = logger
        self.pause = pause ?? min(max(interval / 10, .seconds(10)), .seconds(600))
        collection = GarbageCollection(catalog: catalog, options: GarbageCollection.Options(grace: grace))
    }

    /// Looks until the task is cancelled. A collection that is under way then ends where it is, which is safe anywhere.
    public func run() async {
        while (try? await Task.sleep(for: pause)) != nil { await look() }
    }

    /// Collects, if it is time.
    public func look() async {
        let start = ContinuousClock.now
        do {
            guard try await collection.isDue(every: interval) else { return }
            let report = try await collection.run()
            for lineage in report.lineages {
                guard let failure = lineage.failure else { continue }
                logger.error(
                    "a part of the collection of garbage failed: \(failure)",
                    metadata: [
                        "lineage": "\(lineage.lineage)", "volumes": "\(lineage.volumes.joined(separator: ", "))",
                    ]
                )
            }
            logger.info(
                "collected garbage",
                metadata: [
                    "duration": "\((.now - start).text)", "lineages": "\(report.lineages.count)",
                    "removedGenerations": "\(report.removed.generations.count)",
                    "removedPacks": "\(report.removed.packs.count)",
                    "removedBytes": "\(ByteCount(report.removed.packBytes))",
                    "condemnedGenerations": "\(report.condemned.generations.count)",
                    "condemnedPacks": "\(report.condemned.packs.count)",
                    "condemnedBytes": "\(ByteCount(report.condemned.packBytes))",
                ])
        } catch {
            if Task.isCancelled { return }
            logger.warning(
                "garbage cannot be collected: \(PerSSDError(wrapping: error))",
                metadata: ["nextTry": "in \((interval / 4).text)"])
        }
    }
}

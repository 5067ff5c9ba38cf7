import Blocking
import CSI
import Errors
import Foundation
import LinuxSystem
import Logging
import SystemPackage
import Units

/// Sees to it that kubelet knows the pools that this node has.
///
/// kubelet asks NodeGetInfo once, when the driver's registrar puts its socket into kubelet's directory, and makes labels of the
/// answer. The registrar lives on when the plugin is started anew, with a pool that was missing before or without one that was there.
/// So the plugin keeps what it has answered last, in `registration.json` of the state directory, and where that is not what it would
/// answer now, it removes the socket: kubelet lets the driver go, and the registrar, whose probe misses its socket, is started again
/// and registers. Pods do not notice.
actor Registration {
    /// What NodeGetInfo answers; the same for as long as a process lives.
    struct Info: Codable, Equatable, Sendable {
        var nodeID: String
        var maximumVolumes: Int
        var topology: [String: String]
    }

    struct Times: Sendable {
        /// How long kubelet is given to ask by itself, as it does where the whole pod is new.
        var patience = Duration.seconds(20)
        /// From one try to the next: at first, and at the most.
        var pauses: ClosedRange<Duration> = .seconds(60) ... .seconds(600)
    }

    private struct Stored: Codable {
        static let currentFormat = 1
        var format = Self.currentFormat
        var info: Info
    }

    nonisolated let info: Info
    private let file: FilePath
    private let socket: FilePath?
    private let times: Times
    private let logger: Logger
    private var isTold = false

    /// - Parameters:
    ///   - info: what is answered now.
    ///   - socket: the registrar's, in kubelet's directory for it; nil where nobody knows.
    init(info: Info, file: FilePath, socket: FilePath?, times: Times = Times(), logger: Logger) {
        (self.info, self.file, self.socket, self.times, self.logger) = (info, file, socket, times, logger)
    }

    /// To be called before kubelet gets the answer. Never keeps it from that.
    func told() async {
        isTold = true
        do {
            guard try await lastTold() != info else { return }
        } catch {
            logger.warning("what kubelet was told of this node last is not known: \(error)")
        }
        do {
            let bytes = [UInt8](try JSONEncoder().encode(Stored(info: info)))
            try await BlockingPool.shared.run { [file] in try DurableFile.write(bytes, to: file) }
        } catch {
            logger.warning("what kubelet was told of this node cannot be kept: \(error)")
        }
    }

    /// Whether kubelet knows something else of this node than what it would be told now. What it was never told it is about to ask.
    var isOutdated: Bool {
        get async {
            guard !isTold else { return false }
            do {
                guard let last = try await lastTold() else { return false }
                return !isTold && last != info
            } catch {
                logger.warning("what kubelet was told of this node last is not known: \(error)")
                return !isTold
            }
        }
    }

    /// Returns when kubelet knows what there is to know, or the task is cancelled.
    func run() async {
        var pause = times.pauses.lowerBound
        guard (try? await Task.sleep(for: times.patience)) != nil else { return }
        while await isOutdated {
            guard let socket else {
                logger.warning(
                    """
                    kubelet was told of other pools than this node has now, and asks again only when the driver registers: start \
                    its registrar anew, or give --registration-socket
                    """)
                return
            }
            await remove(socket)
            guard (try? await Task.sleep(for: pause)) != nil else { return }
            pause = min(pause * 2, times.pauses.upperBound)
        }
    }

    private func remove(_ socket: FilePath) async {
        do {
            let isGone = try await BlockingPool.shared.run {
                // The registrar is at it already where there is none.
                guard try FileStatus.of(socket, followingLinks: false)?.kind == .other else { return false }
                return try DurableFile.removeIfThere(socket)
            }
            guard isGone else { return }
            logger.notice(
                """
                kubelet was told of other pools than this node has now: its registration of the driver is ended, and the \
                registrar makes a new one
                """, metadata: ["socket": "\(socket)"])
        } catch {
            logger.warning("the driver cannot be registered anew: \(error)")
        }
    }

    /// - Throws: `corrupt` or `unsupported` where the file does not say.
    private func lastTold() async throws -> Info? {
        guard let bytes = try await BlockingPool.shared.run({ [file] in try DurableFile.read(file) }) else {
            return nil
        }
        do {
            let stored = try JSONDecoder().decode(Stored.self, from: Data(bytes))
            guard stored.format == Stored.currentFormat else {
                throw PerSSDError(.unsupported, "\(file) has format \(stored.format), which is not known here")
            }
            return stored.info
        } catch let error as DecodingError {
            throw PerSSDError(.corrupt, "\(file) cannot be read", cause: error)
        }
    }
}

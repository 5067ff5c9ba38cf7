import CSI
import Errors
import Foundation
import LinuxSystem
import LocalVolumes
import Persistence
import SystemPackage

/// What a NodeGetVolumeStats tells of a published volume.
struct VolumeReport: Sendable {
    /// nil where the file system does not say any more.
    var usage: VolumeUsageReport?
    /// What is wrong, for people; empty where the volume is well.
    var problems: [String]
    /// The name of the pool that has its local copy.
    var pool: String?
    /// Whether it needs the bucket.
    var isInBucket = true
    /// What it would come back as, were the node lost; nil where nothing can be lost, or it is not known yet.
    var recoveryPoint: String?

    /// Bytes of a condition's message at the most: it travels in every answer, and is shown as one line.
    private static let limit = 2000

    var condition: VolumeCondition {
        let end = recoveryPoint.map { "; \($0)" } ?? ""
        guard !problems.isEmpty else {
            return VolumeCondition(
                abnormal: false,
                message: "the volume can be used" + (isInBucket ? ", and so can the bucket" : "") + end)
        }
        let text = problems.joined(separator: "; ")
        let limit = Self.limit - end.count
        return VolumeCondition(
            abnormal: true, message: (text.count > limit ? "\(text.prefix(limit - 4)) ..." : text) + end)
    }
}

/// A stage-out that failed, and is tried again.
struct StageOutFailure: Sendable {
    /// When the first of the tries failed that have failed ever since.
    var since: Date
    /// Why the last one did.
    var error: PerSSDError

    var text: String {
        "what was written is not in the bucket yet: staging out fails since \(since.formatted(.iso8601)): \(error)"
    }
}

extension LocalVolumeWork {
    /// What is wrong with the volume here on the node.
    func localProblems(_ publication: Publication) async -> [String] {
        let mounted = if case .mount = publication.access { true } else { false }
        return await environment.problems(
            of: volume.rawValue, device: memory.withLock { $0.device }, isMounted: mounted)
    }
}

extension NodeEnvironment {
    /// What is wrong with a published volume's device, and with its file system where that is mounted.
    func problems(of volume: String, device: FilePath?, isMounted: Bool = true) async -> [String] {
        var problems: [String] = []
        if let device {
            do { try await fileSystems.probe(device) } catch {
                problems.append("its device does not read: \(PerSSDError(wrapping: error))")
            }
        }
        guard isMounted else { return problems }
        do {
            if let trouble = try await publisher.trouble(of: volume) { problems.append(trouble) }
        } catch {
            problems.append("its file system cannot be looked at: \(PerSSDError(wrapping: error))")
        }
        return problems
    }
}

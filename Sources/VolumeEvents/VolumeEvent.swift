import Foundation
import Persistence

/// Something that has happened to a volume, for those who use it: what, and who is to hear of it.
public struct VolumeEvent: Sendable, Hashable {
    public var occurrence: Occurrence
    public var volume: VolumeID
    /// The claim it was made for; nil where nobody said.
    public var claim: Claim?
    /// The pods that it is about.
    public var pods: [VolumeUse.Pod]
    public var at: Date

    /// A PersistentVolumeClaim.
    public struct Claim: Sendable, Hashable {
        public var namespace: String
        public var name: String
        /// nil where it cannot be told.
        public var uid: String?

        public init(namespace: String, name: String, uid: String?) {
            (self.namespace, self.name, self.uid) = (namespace, name, uid)
        }

        /// The claim of a volume. The provisioner calls a volume `pvc-` and the claim's UID, so that the claim need not be asked
        /// for; with another prefix, what stands behind it counts.
        public init?(of record: VolumeRecord) {
            guard let claim = record.claim else { return nil }
            self.init(namespace: claim.namespace, name: claim.name, uid: Self.uid(in: record.name))
        }

        /// The UUID at the end of a volume's name; nil where there is none.
        static func uid(in name: String) -> String? {
            let end = name.suffix(36)
            guard UUID(uuidString: String(end)) != nil,
                end.utf8.count == name.utf8.count || name.dropLast(36).hasSuffix("-")
            else { return nil }
            return String(end)
        }
    }

    public init(
        _ occurrence: Occurrence, of volume: VolumeID, claim: Claim?, pods: [VolumeUse.Pod] = [], at: Date
    ) {
        (self.occurrence, self.volume, self.claim, self.pods, self.at) = (occurrence, volume, claim, pods, at)
    }

    /// How people know the volume: by its claim where there is one.
    public var title: String { claim.map { "\($0.namespace)/\($0.name)" } ?? volume.rawValue }

    /// What is said of it: one line, for people.
    public var note: String { "volume \(title): \(occurrence.text)" }
}

/// Where events go. Telling one never waits, and never fails: whoever moves data must not be held up by who watches.
public struct EventSink: Sendable {
    private let take: @Sendable (VolumeEvent) -> Void

    public init(_ take: @escaping @Sendable (VolumeEvent) -> Void) { self.take = take }

    /// For whoever has nobody to tell.
    public static let none = EventSink { _ in }

    public func tell(_ event: VolumeEvent) { take(event) }
}

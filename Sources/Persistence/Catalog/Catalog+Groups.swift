import Errors
import Foundation

/// A try to make a group snapshot. What it has written counts for nothing until `completeGroup`.
public struct GroupCut: Sendable {
    public let record: GroupSnapshotRecord
    let etag: ETag
    /// The members that nobody writes, and what they pin.
    let pinned: [SnapshotRecord]
}

extension Catalog {
    /// Begins to make a group snapshot, or finds the one that an earlier try made. A try that is under way elsewhere fails.
    ///
    /// - Returns: `standing` where all members are cut already; else what is to be cut.
    /// - Throws: `alreadyExists` where the name is taken by a group of other volumes; `notFound` naming a volume that is not
    ///   there.
    public func beginGroup(
        name: String, of volumes: Set<VolumeID>
    ) async throws -> (standing: GroupSnapshotRecord?, begun: GroupCut?) {
        let id = GroupSnapshotID(name: name)
        let key = try CatalogKey.group(id)
        for _ in 0..<Self.patience {
            let existing = try await load(GroupSnapshotRecord.self, at: key)
            if let standing = existing?.value, standing.deletedAt == nil {
                try Self.requireSame(standing, name, volumes)
                if standing.state == .cut { return (standing, nil) }
            }
            let incarnation = Incarnation()
            let snapshots = try await inOrder(volumes.sorted()) { volume in
                let name = "\(name)/\(volume)/\(incarnation)"
                var record = plan(SnapshotID(name: name), name: name, of: try await self.volume(volume))
                record.group = id
                return record
            }
            let record = GroupSnapshotRecord(
                group: id, name: name, incarnation: incarnation, state: .cutting,
                members: snapshots.map {
                    .init(
                        snapshot: $0.snapshot, volume: $0.volume, node: $0.delivery?.node, epoch: $0.delivery?.epoch)
                }, createdAt: time)
            let etag: ETag
            do {
                etag = try await save(record, at: key, condition: existing.map { .matches($0.etag) } ?? .absent)
            } catch let error as PerSSDError where error.code == .conflict {
                try Task.checkCancellation()
                continue
            }
            if let existing { try await removeMembers(of: existing.value) }
            let begun = GroupCut(record: record, etag: etag, pinned: snapshots.filter(\.isReady))
            if try await establish(snapshots) { return (nil, begun) }
            // What was newest has expired since, so that something else is.
            try await abandonGroup(begun)
        }
        throw PerSSDError(
            .aborted, "group snapshot '\(name)' is made by others at the same time", remedy: "try again")
    }

    private static func requireSame(
        _ record: GroupSnapshotRecord, _ name: String, _ volumes: Set<VolumeID>
    ) throws {
        guard record.name == name, Set(record.members.map(\.volume)) == volumes else {
            throw PerSSDError(
                .alreadyExists,
                "a group snapshot named '\(name)' exists already, of volumes "
                    + record.members.map(\.volume.rawValue).joined(separator: ", "),
                remedy: "ask for the same volumes, or choose another name")
        }
    }

    /// - Returns: false where a generation that a member was to pin has expired.
    private func establish(_ snapshots: [SnapshotRecord]) async throws -> Bool {
        try await inOrder(snapshots) { snapshot in
            _ = try await save(snapshot, at: CatalogKey.snapshot(snapshot.snapshot), condition: .absent)
            guard let generation = snapshot.generation else { return true }
            return try await secure(generation, lineage: snapshot.lineage) != nil
        }.allSatisfy { $0 }
    }

    /// That the members that nobody wrote when the try began have not been written since. Asked while all others are held,
    /// it makes what they pin, too, a state of this moment.
    ///
    /// - Throws: `aborted` naming the volume where it is not so.
    public func requireUnwritten(_ begun: GroupCut) async throws {
        _ = try await inOrder(begun.pinned) { snapshot -> Bool? in
            let head = try await volume(snapshot.volume).head
            guard head.incarnation == snapshot.incarnation, head.newest == snapshot.generation,
                head.lease?.state != .open
            else {
                throw PerSSDError(
                    .aborted, "a pod has begun to use volume \(snapshot.volume) meanwhile", remedy: "try again")
            }
            return true
        }
    }

    /// All members are cut, and none was written in between: from here on there is the group, and its snapshots.
    ///
    /// - Parameter cutAt: a moment at which all members were as they were cut.
    /// - Throws: `aborted` where another try has taken over, or this one has taken hours.
    public func completeGroup(_ begun: GroupCut, cutAt: Date) async throws -> GroupSnapshotRecord {
        // Long before what it pins may be collected.
        guard time.timeIntervalSince(begun.record.createdAt) < GroupSnapshotRecord.lifetime / 2 else {
            throw PerSSDError(
                .aborted, "group snapshot '\(begun.record.name)' was begun too long ago", remedy: "try again")
        }
        var next = begun.record
        next.state = .cut
        next.createdAt = cutAt
        do {
            _ = try await save(next, at: CatalogKey.group(next.group), condition: .matches(begun.etag))
        } catch let error as PerSSDError where error.code == .conflict {
            throw PerSSDError(
                .aborted, "another call makes group snapshot '\(next.name)', or has deleted it", remedy: "try again")
        }
        return next
    }

    /// Nothing of a try that failed remains.
    ///
    /// - Returns: the group where it was completed after all, as when the answer to that was lost: it is left as it is.
    @discardableResult
    public func abandonGroup(_ begun: GroupCut) async throws -> GroupSnapshotRecord? {
        let key = try CatalogKey.group(begun.record.group)
        if let current = try await load(GroupSnapshotRecord.self, at: key),
            current.value.incarnation == begun.record.incarnation
        {
            guard current.value.state == .cutting else { return current.value.deletedAt == nil ? current.value : nil }
            try? await bury(current)
        }
        try await removeMembers(of: begun.record)
        return nil
    }

    /// - Throws: `notFound` where there is no such group snapshot.
    public func group(_ id: GroupSnapshotID) async throws -> GroupSnapshotRecord {
        let record = try await load(GroupSnapshotRecord.self, at: CatalogKey.group(id))?.value
        guard let record, record.isThere else { throw Self.noGroup(id) }
        return record
    }

    /// What a node is to cut: the group's record while the try that is named is under way.
    ///
    /// - Throws: `aborted` where it is not, or no more.
    public func groupToCut(_ id: GroupSnapshotID, _ incarnation: Incarnation) async throws -> GroupSnapshotRecord {
        let record = try await load(GroupSnapshotRecord.self, at: CatalogKey.group(id))?.value
        guard let record, record.incarnation == incarnation, record.deletedAt == nil, record.state == .cutting else {
            throw PerSSDError(.aborted, "nobody makes group snapshot \(id) any more in this way")
        }
        return record
    }

    /// The snapshots of a group, as their records are now.
    public func members(of group: GroupSnapshotRecord) async throws -> [SnapshotRecord] {
        try await inOrder(group.members) { try await currentSnapshot($0.snapshot).value }
    }

    /// A member of a group that was cut, made ready where its generation is committed and only that was not said.
    ///
    /// - Throws: `failedPrecondition` where the node lost the volume before it could commit the cut.
    public func settled(_ record: SnapshotRecord) async throws -> SnapshotRecord {
        guard record.delivery?.cutAt != nil else { return record }
        return try await settled(record, in: try await load(Head.self, at: CatalogKey.head(record.volume))?.value)
    }

    /// Deletes a group snapshot with its members; fine where there is none.
    ///
    /// - Parameter snapshots: the members that the caller knows of; empty for any.
    /// - Throws: `invalidArgument` where they are others.
    public func deleteGroup(_ id: GroupSnapshotID, snapshots: Set<SnapshotID>) async throws {
        let key = try CatalogKey.group(id)
        guard let first = try await load(GroupSnapshotRecord.self, at: key)?.value else { return }
        try first.requireMembers(snapshots)
        while let current = try await load(GroupSnapshotRecord.self, at: key),
            current.value.incarnation == first.incarnation
        {
            if current.value.deletedAt != nil { break }
            do {
                try await bury(current)
                break
            } catch let error as PerSSDError where error.code == .conflict {
                try Task.checkCancellation()
            }
        }
        // Also where an earlier deletion came only as far as the record.
        try await removeMembers(of: first)
    }

    private func bury(_ current: Versioned<GroupSnapshotRecord>) async throws {
        var tombstone = current.value
        tombstone.deletedAt = time
        _ = try await save(tombstone, at: CatalogKey.group(tombstone.group), condition: .matches(current.etag))
    }

    /// Their ids never come back, so nothing has to be remembered of them.
    private func removeMembers(of group: GroupSnapshotRecord) async throws {
        _ = try await inOrder(group.members) { member -> Bool? in
            try await store.remove(CatalogKey.snapshot(member.snapshot))
            return nil
        }
    }

    /// Of snapshots those that are there for everybody: of a group's members only those of one that was made.
    func visible(_ records: [SnapshotRecord]) async throws -> [SnapshotRecord] {
        try await ofGroups(\.isThere, records)
    }

    /// Of snapshots those that keep their generations: not a group's members where nobody can make that group any more.
    func keeping(_ records: [SnapshotRecord]) async throws -> [SnapshotRecord] {
        let now = time
        return try await ofGroups({ $0.isThere || $0.canBeCompleted(at: now) }, records)
    }

    private func ofGroups(
        _ isWanted: (GroupSnapshotRecord) -> Bool, _ records: [SnapshotRecord]
    ) async throws -> [SnapshotRecord] {
        let groups = try await inOrder(Array(Set(records.compactMap(\.group)))) { id in
            try await load(GroupSnapshotRecord.self, at: CatalogKey.group(id))?.value
        }
        let members = Set(groups.filter(isWanted).flatMap { $0.members.map(\.snapshot) })
        return records.filter { $0.group == nil || members.contains($0.snapshot) }
    }

    static func noGroup(_ id: GroupSnapshotID) -> PerSSDError {
        PerSSDError(.notFound, "there is no group snapshot \(id)")
    }
}

extension GroupSnapshotRecord {
    var isThere: Bool { deletedAt == nil && state == .cut }

    /// After so many seconds, what a try that was not completed has pinned may go.
    static let lifetime: TimeInterval = 86400

    func canBeCompleted(at now: Date) -> Bool {
        deletedAt == nil && state == .cutting && now.timeIntervalSince(createdAt) < Self.lifetime
    }

    /// - Parameter snapshots: what a caller takes for the members; empty where it does not say.
    /// - Throws: `invalidArgument` where they are others.
    public func requireMembers(_ snapshots: Set<SnapshotID>) throws {
        guard snapshots.isEmpty || snapshots == Set(members.map(\.snapshot)) else {
            throw PerSSDError(
                .invalidArgument,
                "snapshot_ids are not the members of group snapshot \(group), which are "
                    + members.map(\.snapshot.rawValue).joined(separator: ", "),
                remedy: "give all of its members, or none")
        }
    }
}

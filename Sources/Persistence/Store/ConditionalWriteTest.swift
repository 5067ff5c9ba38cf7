import Digests
import Errors

/// Finds out whether a store keeps the promises that everything above rests on, with eight requests.
///
/// Some stores accept the headers of conditional writes and ignore them; nothing but trying shows it. The result is
/// remembered nowhere: a store can be replaced or configured anew between two starts of a process.
///
/// - Throws: `failedPrecondition`, naming the store, the header that is not honoured, what would be lost, and the cure;
///   the store's own errors where it cannot be used at all.
public func verifyConditionalWrites(on store: any ObjectStore) async throws {
    try await ConditionalWriteTest(store).run()
}

struct ConditionalWriteTest {
    /// Where the test writes; nothing else lives below.
    static let folder = "selftest/"

    private let store: any ObjectStore
    private let key: ObjectKey

    init(_ store: any ObjectStore) throws {
        self.store = store
        key = try ObjectKey(Self.folder + randomBytes(16).hex)
    }

    func run() async throws {
        do {
            try await test()
        } catch {
            // Cancelled or not, and whatever became of the test: its own error says more than that of the removal.
            _ = await Task { try? await store.remove(key) }.value
            throw PerSSDError(wrapping: error, during: "\(store.location) failed the test of conditional writes")
        }
        do {
            try await store.remove(key)
        } catch {
            throw PerSSDError(wrapping: error, during: "cannot remove the object of the test of conditional writes")
        }
    }

    private func test() async throws {
        guard let first = try await attempt("first", .absent) else {
            throw broken(.create, "it says that an object of a new, random name exists already")
        }
        guard try await attempt("second", .absent) == nil else {
            throw broken(.create, "it has overwritten an existing object")
        }
        guard let next = try await attempt("third", .matches(first)) else {
            throw broken(
                .update,
                "it does not take the tag of the version that is there, or has overwritten that in spite of "
                    + "If-None-Match")
        }
        let winner = try await race(for: next)
        guard try await attempt("stale", .matches(first)) == nil else {
            throw broken(.update, "it has overwritten an object that had changed since")
        }
        guard let object = try await store.read(key) else {
            throw broken(.read, "an object that was written a moment ago cannot be read")
        }
        guard object.bytes == contents(winner) else {
            throw broken(
                .read,
                "it keeps '\(String(decoding: object.bytes.prefix(100), as: UTF8.self))' where the one "
                    + "write that it accepted was '\(String(decoding: contents(winner), as: UTF8.self))'")
        }
    }

    /// Two writers replace the same version at the same time.
    ///
    /// - Returns: the name of the one that won.
    private func race(for tag: ETag) async throws -> String {
        let names = ["left", "right"]
        let winners = try await withThrowingTaskGroup(of: String?.self) { group in
            for name in names {
                group.addTask { try await attempt(name, .matches(tag)) == nil ? nil : name }
            }
            return try await group.reduce(into: [String]()) { if let name = $1 { $0.append(name) } }
        }
        guard let winner = winners.first else {
            throw broken(.update, "of two writers that replace the same version at the same time it refuses both")
        }
        guard winners.count == 1 else {
            throw broken(.update, "of two writers that replace the same version at the same time it lets both succeed")
        }
        return winner
    }

    private func contents(_ name: String) -> [UInt8] { [UInt8]("PerSSD tests conditional writes: \(name)\n".utf8) }

    /// - Returns: nil where the store says that the condition does not hold.
    private func attempt(_ name: String, _ condition: WriteCondition) async throws -> ETag? {
        do {
            return try await store.write(key, contents(name), condition: condition)
        } catch let error as PerSSDError where error.code == .conflict {
            return nil
        } catch let error as PerSSDError where error.code == .unsupported {
            throw broken(condition == .absent ? .create : .update, "it refuses the header", cause: error)
        }
    }

    // MARK: - What to say

    private enum Promise {
        case create, update, read

        var text: String {
            switch self {
            case .create: "it does not honour 'If-None-Match: *' (create only where there is none)"
            case .update: "it does not honour 'If-Match' (replace only this version)"
            case .read: "reads do not show the newest write"
            }
        }

        var danger: String {
            switch self {
            case .create: "two nodes could then create the same volume or generation, and one's data would be lost"
            case .update: "two nodes could then both hold the same volume, and one's data would be lost"
            case .read: "a node could then restore an old state of a volume as the newest"
            }
        }
    }

    private func broken(_ promise: Promise, _ seen: String, cause: (any Error)? = nil) -> PerSSDError {
        PerSSDError(
            .failedPrecondition, "\(promise.text): \(seen); \(promise.danger)",
            remedy:
                "use a store whose conditional writes work: AWS S3, SeaweedFS, Ceph RADOS Gateway, or a directory on a "
                + "shared file system (Lustre with -o flock, NFS 4, GPFS); the JuiceFS gateway and 'rclone serve s3' are known "
                + "to ignore the headers, and so may a proxy in between",
            cause: cause)
    }
}

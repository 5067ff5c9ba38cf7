import Blocking
import Errors
import Foundation
import Synchronization
import TestSupport
import Testing

@testable import Persistence

@Suite struct DirectoryLockTests {
    /// Two lock objects on one directory are as two processes: the lock belongs to the open file.
    @Test func aLockThatOthersHoldIsWaitedForAndGivenUpInTheEnd() async throws {
        let directory = try TemporaryDirectory()
        let root = DirectoryRoot(path: directory.path)
        try root.adopt()
        let pool = BlockingPool(label: "test", maximumThreads: 4)
        let holder = DirectoryLocks(root)
        let other = DirectoryLocks(root, patience: .milliseconds(200))
        let key: ObjectKey = "a"
        let held = Atomic<Bool>(false)
        let over = Atomic<Bool>(false)
        let task = Task {
            try await holder.withLock(key, on: pool) {
                held.store(true, ordering: .sequentiallyConsistent)
                while !over.load(ordering: .sequentiallyConsistent) { usleep(1000) }
            }
        }
        while !held.load(ordering: .sequentiallyConsistent) { try await Task.sleep(for: .milliseconds(1)) }
        let error = try #require(await failure { try await other.withLock(key, on: pool) {} })
        #expect(error.code == .unavailable && error.description.contains("/.perssd/lock"), "\(error)")
        // Another key's byte is free.
        let free = try #require(
            (0..<100).map { try! ObjectKey("k\($0)") }.first {
                DirectoryLocks.position($0) != DirectoryLocks.position(key)
            })
        try await other.withLock(free, on: pool) {}
        over.store(true, ordering: .sequentiallyConsistent)
        try await task.value
        try await other.withLock(key, on: pool) {}
    }

    /// A removed lock file keeps nobody out, so its lock must not count.
    @Test func aRemovedLockFileIsMadeAnew() async throws {
        let directory = try TemporaryDirectory()
        let store = try await DirectoryStore.open(directory: directory.path)
        let tag = try await store.write("a", [1], condition: .none)
        #expect(unlink(directory + ".perssd/lock") == 0)
        _ = try await store.write("a", [2], condition: .matches(tag))
        #expect(access(directory + ".perssd/lock", F_OK) == 0)
    }

    @Test func turnsAreTakenInOrderAndAWaiterCanLeave() async throws {
        let turns = Turns()
        try await turns.take(1)
        try await turns.take(2)
        let order = Log()
        var waiters: [Task<Void, any Error>] = []
        for number in 0..<5 {
            waiters.append(
                Task {
                    try await turns.take(1)
                    order.numbers.withLock { $0.append(number) }
                    turns.pass(1)
                })
            try await Task.sleep(for: .milliseconds(10))
        }
        waiters[2].cancel()
        #expect(await code { try await waiters[2].value } == .cancelled)
        turns.pass(1)
        for number in [0, 1, 3, 4] { try await waiters[number].value }
        #expect(order.numbers.withLock { $0 } == [0, 1, 3, 4])
        try await turns.take(1)
    }

    @Test(
        arguments: [
            ("lustre", "rw,flock,lazystatfs", nil), ("lustre", "rw,localflock", "localflock"),
            ("lustre", "rw", "without flock"),
            ("nfs4", "rw,vers=4.2,local_lock=none", nil), ("nfs", "rw,vers=3,nolock", "nolock"),
            ("nfs", "rw,vers=3,local_lock=all", "local_lock=all"), ("ext4", "rw", nil),
        ] as [(String, String, String?)])
    func fileSystemsWhoseLocksAreLocalAreTold(_ type: String, _ options: String, _ words: String?) throws {
        let line = "36 35 0:51 / /shared rw,noatime shared:1 master:2 - \(type) server:/x \(options)"
        let mount = try #require(MountedFileSystem(mountinfo: line[...]))
        #expect(mount.type == type && mount.device == "0:51" && mount.options.contains("noatime"))
        #expect((mount.lockingProblem == nil) == (words == nil))
        if let words { #expect(mount.lockingProblem?.contains(words) == true) }
    }

    @Test func theMountOfADirectoryIsFound() async throws {
        let fileSystem = try await TestFileSystem.shared("tmpfs")
        var status = stat()
        #expect(stat(fileSystem.path, &status) == 0)
        #expect(MountedFileSystem.holding(device: status.st_dev)?.type == "tmpfs")
        let disk = try await TestFileSystem.shared("xfs")
        #expect(stat(disk.path, &status) == 0)
        #expect(MountedFileSystem.holding(device: status.st_dev)?.type == "xfs")
    }
}

private final class Log: Sendable {
    let numbers = Mutex<[Int]>([])
}

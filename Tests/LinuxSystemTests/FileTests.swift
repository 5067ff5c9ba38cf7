import DeviceTestSupport
import Errors
import Foundation
import LinuxSystem
import SystemPackage
import Testing

@Suite struct DurableFileTests {
    @Test func replacesAFileWhole() async throws {
        try await Scratch.with { scratch in
            let path = scratch.appending("file")
            #expect(try DurableFile.read(path) == nil)
            try DurableFile.write([1, 2, 3], to: path)
            let before = try FileStatus.of(path)
            try DurableFile.write([4], to: path)
            #expect(try DurableFile.read(path) == [4])
            #expect(try FileStatus.of(path)?.inode != before?.inode)
            #expect(try DurableFile.names(in: scratch.path) == ["file"])
        }
    }

    @Test func leavesNothingBehindWhereItFails() async throws {
        try await Scratch.with { scratch in
            let directory = try scratch.makeDirectory("directory")
            #expect(throws: PerSSDError.self) { try DurableFile.write([1], to: directory) }
            #expect(try DurableFile.names(in: scratch.path) == ["directory"])
        }
    }

    @Test func refusesAFileThatIsTooLong() async throws {
        try await Scratch.with { scratch in
            let path = scratch.appending("file")
            try DurableFile.write([UInt8](repeating: 0, count: 101), to: path)
            #expect(try DurableFile.read(path, limit: 101)?.count == 101)
            let error = #expect(throws: PerSSDError.self) { try DurableFile.read(path, limit: 100) }
            #expect(error?.code == .corrupt)
        }
    }

    @Test func renamesToAFreeNameOnly() async throws {
        try await Scratch.with { scratch in
            try DurableFile.write([1], to: scratch.appending("a"))
            try DurableFile.write([2], to: scratch.appending("b"))
            let error = #expect(throws: PerSSDError.self) {
                try DurableFile.rename(scratch.appending("a"), toNew: scratch.appending("b"))
            }
            #expect(error?.code == .alreadyExists)
            try DurableFile.rename(scratch.appending("a"), toNew: scratch.appending("c"))
            #expect(try DurableFile.names(in: scratch.path) == ["b", "c"])
        }
    }
}

@Suite struct SystemCallTests {
    @Test func turnsErrorNumbersIntoErrorsOfTheirKind() async throws {
        let kinds: [(Errno, PerSSDError.Code)] = [
            (.noSpace, .resourceExhausted), (.notPermitted, .permissionDenied), (.permissionDenied, .permissionDenied),
            (.readOnlyFileSystem, .failedPrecondition), (.resourceBusy, .failedPrecondition), (.ioError, .unavailable),
            (.noSuchFileOrDirectory, .notFound), (.fileExists, .alreadyExists), (Errno(rawValue: EUCLEAN), .corrupt),
        ]
        for (number, code) in kinds {
            let error = PerSSDError(number, during: "do it")
            #expect(error.code == code, "\(number)")
            #expect(error.errno == number)
            #expect(error.during("more").errno == number)
        }
        #expect(PerSSDError(.notPermitted, during: "x").remedy?.contains("CAP_SYS_ADMIN") == true)
    }

    @Test func retriesWhatASignalInterrupted() throws {
        var calls = 0
        let result = try systemCall("test") { () -> Int in
            calls += 1
            if calls < 3 {
                errno = EINTR
                return -1
            }
            return 7
        }
        #expect(result == 7 && calls == 3)
    }

    @Test func aFullFileSystemIsExhausted() async throws {
        try await Scratch.with { scratch in
            let directory = try scratch.makeFileSystem("fs", "ext4", size: 8 << 20)
            let file = try OpenFile(directory.appending("file"), O_WRONLY | O_CREAT)
            let error = #expect(throws: PerSSDError.self) {
                try [UInt8](repeating: 1, count: 16 << 20).withUnsafeBytes { try file.write(at: 0, from: $0) }
            }
            #expect(error?.code == .resourceExhausted)
        }
    }
}

@Suite struct FileLockTests {
    @Test func refusesASecondHolderByName() async throws {
        try await Scratch.with { scratch in
            let path = scratch.appending("lock")
            do {
                let lock = try FileLock(path)
                let error = #expect(throws: PerSSDError.self) { try FileLock(path) }
                #expect(error?.code == .failedPrecondition)
                #expect(error?.message.contains("process \(getpid())") == true)
                // Another process is refused, too.
                #expect(throws: PerSSDError.self) { try scratch.run("flock", ["-n", path.string, "true"]) }
                withExtendedLifetime(lock) {}
            }
            // A process that another test starts just now may hold it for an instant.
            try scratch.run("flock", ["-w", "20", path.string, "true"])
            _ = try FileLock(path)
        }
    }
}

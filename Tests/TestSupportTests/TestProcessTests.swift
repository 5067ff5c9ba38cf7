import Foundation
import TestSupport
import Testing

@Suite struct TestProcessTests {
    @Test func outputAndStatusArriveAndTheDirectoryGoes() async throws {
        let path = try await withTemporaryDirectory { directory in
            let process = try await TestProcess.start(
                "/bin/sh", ["-c", "echo out $COLOUR; echo err >&2; exit 7"], environment: ["COLOUR": "red"],
                directory: directory)
            #expect(try await process.waitForExit() == 7)
            #expect(process.output == "out red\nerr\n")
            return directory.path
        }
        #expect(!FileManager.default.fileExists(atPath: path))
    }

    @Test func aProcessThatIgnoresTheTermSignalIsKilled() async throws {
        let directory = try TemporaryDirectory()
        let process = try await TestProcess.start(
            "/bin/sh", ["-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"], directory: directory)
        try await process.waitUntilReady { process.output == "ready\n" }
        #expect(await process.terminate(grace: .milliseconds(300)) == 128 + SIGKILL)
        #expect(!process.isRunning)
    }

    @Test func aProcessThatEndsBeforeItIsReadyIsReportedWithItsOutput() async throws {
        let directory = try TemporaryDirectory()
        let process = try await TestProcess.start("/bin/sh", ["-c", "echo no port; exit 3"], directory: directory)
        let error = await #expect(throws: TestSetupError.self) { try await process.waitUntilReady { false } }
        #expect(error?.description.contains("status 3") == true && error?.description.contains("no port") == true)
    }

    @Test func aMissingProgramIsNamed() async throws {
        #expect(throws: TestSetupError.self) { try PackageRoot.systemProgram("no-such-program", package: "nothing") }
        let error = #expect(throws: TestSetupError.self) { try PackageRoot.virtualEnvironmentProgram("no-such") }
        #expect(error?.description.contains("scripts/install-dependencies.sh test") == true)
    }

    @Test func portsDiffer() throws {
        let ports = try freePorts(50) + freePorts(50)
        #expect(Set(ports).count == 100)
    }
}

@Suite struct S3ServerTests {
    @Test(arguments: ["SeaweedFS", "RADOS Gateway", "rclone serve s3"])
    func serversStartAndMakeBuckets(name: String) async throws {
        let server: any S3Server =
            switch name {
            case "SeaweedFS": try await SeaweedFS.shared()
            case "RADOS Gateway": try await RadosGateway.shared()
            default: try await RcloneS3.shared()
            }
        let bucket = try await server.makeBucket()
        try await server.removeBucket(bucket)
    }
}

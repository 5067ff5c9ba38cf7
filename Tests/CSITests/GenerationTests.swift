import Foundation
import Testing

/// The generated code is what scripts/generate-protocol.sh makes of proto/csi.proto, and the check notices if it is not.
@Suite struct GenerationTests {
    private func check(_ root: URL) async throws -> ProgramResult {
        try await run(root.appending(path: "scripts/generate-protocol.sh").path, ["--check"], in: root)
    }

    @Test func checkedInCodeIsFresh() async throws {
        let result = try await check(packageRoot)
        #expect(result.status == 0, "\(result.errors)")
    }

    @Test func staleCodeIsNoticed() async throws {
        try await withTemporaryDirectory { root in
            try copyProtocol(to: root)
            #expect(try await check(root).status == 0)

            func expectStale(_ path: String, after change: (URL) throws -> Void) async throws {
                let file = root.appending(path: path)
                let original = try? Data(contentsOf: file)
                try change(file)
                let result = try await check(root)
                #expect(result.status == 1, "\(path)")
                #expect(result.errors.contains("run scripts/generate-protocol.sh"), "\(result.errors)")
                #expect(result.errors.contains(file.lastPathComponent), "\(result.errors)")
                if let original { try original.write(to: file) } else { try FileManager.default.removeItem(at: file) }
            }
            func append(_ file: URL) throws { try (Data(contentsOf: file) + Data("\n".utf8)).write(to: file) }

            try await expectStale("Sources/CCSI/csi.pb-c.c", after: append)
            try await expectStale("Sources/CCSI/include/google/protobuf/wrappers.pb-c.h", after: append)
            try await expectStale("Sources/CSI/Generated/Messages/Volume.swift", after: append)
            try await expectStale("Sources/CSI/Generated/Services/Node.swift") {
                try FileManager.default.removeItem(at: $0)
            }
            try await expectStale("Tests/CSITests/Generated/Additional.swift") {
                try Data("// more".utf8).write(to: $0)
            }
            #expect(try await check(root).status == 0)

            // A field in the proto file that the code does not have.
            let proto = root.appending(path: "proto/csi.proto")
            let text = try String(contentsOf: proto, encoding: .utf8)
            let changed = text.replacing(
                "string volume_id = 2;", with: "string volume_id = 2; string added = 99;", maxReplacements: 1)
            try #require(changed != text)
            try changed.write(to: proto, atomically: true, encoding: .utf8)
            let stale = try await check(root)
            #expect(stale.status == 1)
            #expect(stale.errors.contains("Volume.swift") && stale.errors.contains("csi.pb-c.h"), "\(stale.errors)")

            // Generating anew cures it, and takes away what does not belong there.
            try Data().write(to: root.appending(path: "Sources/CSI/Generated/Left.swift"))
            #expect(try await run(root.appending(path: "scripts/generate-protocol.sh").path, [], in: root).status == 0)
            #expect(try await check(root).status == 0)
            let volume = root.appending(path: "Sources/CSI/Generated/Messages/Volume.swift")
            #expect(try String(contentsOf: volume, encoding: .utf8).contains("public var added: String"))
        }
    }

    @Test func unknownArgumentsAreRefused() async throws {
        let script = packageRoot.appending(path: "scripts/generate-protocol.sh").path
        let result = try await run(script, ["--force"])
        #expect(result.status == 1)
        #expect(result.errors.contains("unknown arguments: --force"))
    }

    private func copyProtocol(to root: URL) throws {
        let files = FileManager.default
        let paths = [
            "proto", "scripts/generate-protocol.sh", "Sources/CCSI", "Sources/CSI/Generated",
            "Tests/CSITests/Generated",
        ]
        for path in paths {
            let copy = root.appending(path: path)
            try files.createDirectory(at: copy.deletingLastPathComponent(), withIntermediateDirectories: true)
            try files.copyItem(at: packageRoot.appending(path: path), to: copy)
        }
        try files.createSymbolicLink(
            at: root.appending(path: ".venv"), withDestinationURL: packageRoot.appending(path: ".venv"))
    }
}

import Commands
import Errors
import Foundation
import Units

/// The main job, end to end: a volume written on one node is read back on another.
struct DemoRun {
    let directory: DemoDirectory
    let data: String
    let controller: DemoPlugin
    let nodes: (a: DemoPlugin, b: DemoPlugin)

    /// - Returns: the steps, with what they took.
    func run() async throws -> [DemoSteps.Step] {
        let steps = DemoSteps { [controller, nodes] in
            controller.storeTotals + nodes.a.storeTotals + nodes.b.storeTotals
        }
        let targets = (a: try await target(nodes.a), b: try await target(nodes.b))
        let source = try await TreeManifest.of(data)
        var volume: DemoVolume?
        var written = TreeManifest()

        try await steps.run("create a volume") {
            let made = try await DemoVolume.create(bytes: Self.capacity(for: source), by: controller)
            volume = made
            return (nil, "\(made.id), \(ByteCount(UInt64(made.capacityBytes)))")
        }
        guard let volume else { throw PerSSDError(.internal, "there is no volume") }
        try await steps.run("attach and publish on node A") {
            try await volume.publish(on: nodes.a, at: targets.a, try await volume.attach(to: nodes.a))
            return (nil, "an empty file system is mounted at \(targets.a)")
        }
        try await steps.run("copy the files onto it") {
            try await copy(to: targets.a)
            try await SampleTree.make(in: targets.a)
            written = try await TreeManifest.of(targets.a)
            let missing = source.differences(to: written).filter { !Self.isExpectedOfCopy($0) }
            guard missing.isEmpty else { throw Self.differ("the copy on node A", missing) }
            return (written.bytes, "\(written.files) files, \(ByteCount(written.bytes))")
        }
        try await steps.run("unpublish and detach: stage out") {
            try await volume.unpublish(on: nodes.a, at: targets.a)
            try await volume.detach(from: nodes.a)
            return (written.bytes, "generation 1 is in the bucket")
        }
        try await steps.run("attach and publish on node B: restore") {
            try await volume.publish(on: nodes.b, at: targets.b, try await volume.attach(to: nodes.b))
            return (written.bytes, "mounted at \(targets.b)")
        }
        try await steps.run("compare every file") { try await compare(written, at: targets.b) }
        try await steps.run("change a little on node B") {
            let bytes = try await SampleTree.change(in: targets.b)
            written = try await TreeManifest.of(targets.b)
            return (UInt64(bytes), "\(bytes) bytes written")
        }
        try await steps.run("unpublish and detach: stage out the change") {
            try await volume.unpublish(on: nodes.b, at: targets.b)
            try await volume.detach(from: nodes.b)
            return (nil, "generation 2 is in the bucket")
        }
        try await steps.run("attach and publish on node A: restore the change") {
            try await volume.publish(on: nodes.a, at: targets.a, try await volume.attach(to: nodes.a))
            return (nil, "mounted at \(targets.a)")
        }
        try await steps.run("compare every file again") { try await compare(written, at: targets.a) }
        try await steps.run("unpublish, detach and delete") {
            try await volume.unpublish(on: nodes.a, at: targets.a)
            try await volume.detach(from: nodes.a)
            try await volume.delete()
            return (nil, "")
        }
        return steps.steps
    }

    /// Where kubelet would publish it, in a directory of the node's own.
    private func target(_ node: DemoPlugin) async throws -> String {
        try await directory.make("\(node.name)/pods/demo/volumes") + "/mount"
    }

    /// Room for the data, for the demo's own files, and for what a file system needs itself.
    private static func capacity(for source: TreeManifest) -> Int64 {
        let perFile: UInt64 = 8 << 10
        let needed = source.bytes * 5 / 4 + UInt64(source.entries.count) * perFile + (128 << 20)
        let granule: UInt64 = 64 << 20
        return Int64((needed + granule - 1) / granule * granule)
    }

    private func copy(to target: String) async throws {
        _ = try await SubprocessRunner(packages: ["cp": "coreutils"]).run(
            Command("cp", ["--archive", "--no-target-directory", data, target], timeout: .seconds(3600)))
    }

    /// The copy has the demo's own files beside the data, and what a fresh file system has.
    private static func isExpectedOfCopy(_ difference: String) -> Bool {
        difference.hasPrefix("./lost+found: ") || difference.hasPrefix("./\(SampleTree.name)")
            || difference == ".: time differs"
    }

    private func compare(_ expected: TreeManifest, at target: String) async throws -> (bytes: UInt64?, remark: String) {
        let found = try await TreeManifest.of(target)
        let differences = expected.differences(to: found)
        guard differences.isEmpty else { throw Self.differ("what was restored at \(target)", differences) }
        return (
            found.bytes,
            "all \(found.entries.count) entries are the same: contents, owner, mode, time, links, extended attributes"
        )
    }

    private static func differ(_ what: String, _ differences: [String]) -> PerSSDError {
        PerSSDError(
            .corrupt,
            "\(what) is not what was written; \(differences.count) differences, the first of them: "
                + differences.prefix(10).joined(separator: ", "))
    }
}

import CSI
import CSIRules
import Foundation
import Persistence
import SystemPackage
import TestSupport
import Testing

@testable import CSINode

private let start = Date(timeIntervalSince1970: 1_700_000_000)

private func use(_ name: String, at seconds: Double = 0) -> VolumeUse {
    VolumeUse(
        pod: .init(namespace: "lab", name: name, uid: "uid-\(name)", serviceAccount: nil), labels: [:],
        isReadOnly: false, startedAt: start + seconds)
}

@Suite struct VolumeUsesTests {
    private func names(_ uses: VolumeUses) -> [String?] { uses.entries.map(\.use.pod?.name) }

    @Test func whatEndedBeforeACutIsToldOfOnceAndWhatGoesOnAgain() {
        var uses = VolumeUses(incarnation: "i")
        uses.opened(at: start)
        uses.opened(at: start + 5)
        uses.began(use("one"), at: "/1")
        uses.began(use("two", at: 1), at: "/2")
        uses.ended(at: "/1", now: start + 10)
        let cut = uses
        #expect(cut.startedAt == start && names(cut) == ["one", "two"])
        // While it is sent, another pod comes, and one of those goes.
        uses.began(use("three", at: 12), at: "/1")
        uses.ended(at: "/2", now: start + 13)
        uses.committed(cut, at: start + 11, closed: false)
        #expect(names(uses) == ["two", "three"] && uses.startedAt == start + 11)
        #expect(uses.entries.map(\.use.endedAt) == [start + 13, nil])
        uses.ended(at: "/1", now: start + 14)
        uses.committed(uses, at: start + 15, closed: true)
        #expect(uses.isEmpty)
    }

    @Test func aStageOutThatFailsForgetsNothing() {
        var uses = VolumeUses(incarnation: "i")
        uses.opened(at: start)
        uses.began(use("one"), at: "/1")
        uses.ended(at: "/1", now: start + 1)
        // No commit. The next pod is in the same generation.
        uses.opened(at: start + 2)
        uses.began(use("two", at: 2), at: "/1")
        uses.ended(at: "/1", now: start + 3)
        #expect(names(uses) == ["one", "two"] && uses.startedAt == start)
    }

    @Test func aPublishThatFailsWasNoUse() {
        var uses = VolumeUses(incarnation: "i")
        uses.began(use("one"), at: "/1")
        uses.ended(at: "/1", now: start + 1)
        uses.began(use("two", at: 2), at: "/1")
        uses.neverBegan(at: "/1")
        #expect(names(uses) == ["one"])
    }

    @Test func whoHasItNowHearsOfItElseWhoHadItLast() {
        var uses = VolumeUses(incarnation: "i")
        #expect(uses.latestPods.isEmpty)
        uses.began(use("one"), at: "/1")
        uses.began(use("two", at: 1), at: "/2")
        uses.began(use("two", at: 1), at: "/3")
        #expect(uses.latestPods.map(\.name) == ["one", "two"])
        uses.ended(at: "/2", now: start + 5)
        uses.ended(at: "/3", now: start + 6)
        #expect(uses.latestPods.map(\.name) == ["one"])
        uses.ended(at: "/1", now: start + 4)
        #expect(uses.latestPods.map(\.name) == ["two"])
    }

    @Test func afterARestartEndsThatNobodySawAreNow() {
        var uses = VolumeUses(incarnation: "i")
        uses.began(use("one"), at: "/1")
        uses.began(use("two"), at: "/2")
        uses.endAll(besides: ["/2"], now: start + 9)
        #expect(uses.entries.map(\.use.endedAt) == [start + 9, nil])
    }

    @Test func theyAreKeptInFilesThatGoWhenThereIsNothingToKeep() async throws {
        let directory = try TemporaryDirectory("uses")
        let files = VolumeUseFiles(directory: FilePath(directory + "uses"))
        let (one, two) = (VolumeID(name: "one"), VolumeID(name: "two"))
        try await files.removeAll(besides: [])
        #expect(try await files.read(one) == nil)
        var uses = VolumeUses(incarnation: "i")
        uses.opened(at: start)
        uses.began(use("pod"), at: "/1")
        try await files.write(uses, of: one)
        try await files.write(uses, of: two)
        #expect(try await files.read(one) == uses)
        try await files.removeAll(besides: [one.rawValue])
        #expect(try await files.read(two) == nil)
        #expect(try await files.read(one) == uses)
        try await files.write(VolumeUses(incarnation: "i"), of: one)
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory + "uses").isEmpty)
        for bytes in ["", "{}", "{\"format\":1}"] {
            try Data(bytes.utf8).write(to: URL(fileURLWithPath: directory + "uses/\(one).json"))
            await #expect(throws: (any Error).self) { try await files.read(one) }
        }
    }

    @Test func labelsThatBreakARuleAreLeftOutAndToldOf() {
        let prefix = Driver.VolumeContextKey.workflowPrefix
        let good = ["run": "17", "a.b_c-9": "any text, with ünicode: 'x'", "E": ""]
        let bad = [
            "": "x", "-run": "x", "run.": "x", "a b": "x", "a/b": "x", "ü": "x",
            String(repeating: "n", count: WorkflowLabels.nameLimit + 1): "x",
            "long": String(repeating: "v", count: WorkflowLabels.valueLimit + 1), "tab": "a\tb", "line": "a\nb",
        ]
        var context = ["incarnation": "i", "other.io/run": "no"]
        for (name, value) in good.merging(bad, uniquingKeysWith: { a, _ in a }) { context[prefix + name] = value }
        let labels = WorkflowLabels(in: context)
        #expect(labels.labels == good)
        #expect(labels.omissions.count == bad.count, "\(labels.omissions)")
        let longest = WorkflowLabels(in: [
            prefix + String(repeating: "n", count: WorkflowLabels.nameLimit):
                String(repeating: "v", count: WorkflowLabels.valueLimit)
        ])
        #expect(longest.labels.count == 1)

        var many: [String: String] = [:]
        for number in 0..<WorkflowLabels.countLimit + 3 { many[prefix + "label-\(100 + number)"] = "x" }
        let first = WorkflowLabels(in: many)
        #expect(first.labels.count == WorkflowLabels.countLimit && first.omissions.count == 3)
        #expect(first.labels["label-100"] == "x" && first.omissions[0].contains("label-132"))
    }
}

import Foundation
import Persistence
import Testing

@testable import VolumeEvents

@Suite struct VolumeEventTests {
    private let volume = VolumeID(name: "v")

    private func loss(newest: UInt64) throws -> Loss {
        Loss(
            node: try NodeReference(cluster: "c", node: "node-a"), epoch: 4, newestGeneration: newest,
            openSince: Date(timeIntervalSince1970: 1_800_000_000), revokedAt: Date(timeIntervalSince1970: 1_800_000_600)
        )
    }

    /// One of each, and what people read.
    private func examples() throws -> [(Occurrence, words: String)] {
        [
            (.restoring("restoring: 43%"), "restoring: 43%"),
            (
                .restored(.init(7, older: nil, bytes: 3 << 30, receivedBytes: 1 << 30, duration: .seconds(83))),
                "restored generation 7 from the bucket: 3.0 GiB, for which 1.0 GiB were received, in 1 min 23 s"
            ),
            (
                .restored(.init(7, older: 5, bytes: 2048, receivedBytes: 1024, duration: .seconds(1))),
                "brought the local copy from generation 5 to generation 7: 2.0 KiB, for which 1.0 KiB were received, in 1.0 s"
            ),
            (
                .restored(.init(2, of: volume, older: nil, bytes: 1, receivedBytes: 1, duration: .seconds(1))),
                "restored generation 2 of volume \(volume) from the bucket"
            ),
            (.stagingOut("staging out: 1%"), "staging out: 1%"),
            (
                .committed(.init(8, changedBytes: 10 << 20, sentBytes: 4 << 20, duration: .seconds(2))),
                "committed generation 8: 10.0 MiB had changed, 4.0 MiB were sent, in 2.0 s"
            ),
            (.unchanged(8), "nothing had changed, and generation 8 stays what it stands at"),
            (.unchanged(0), "its creation stays"),
            (
                .heldBack(node: "node-a", .seconds(600)),
                "stays on node node-a alone for a pod that may come next, and is"
            ),
            (.stageOutFailed("no bucket"), "is not in the bucket yet, and staging out is tried again: no bucket"),
            (.cutFailed("frozen"), "no generation could be made of it under its pods: frozen"),
            (.notSaved(node: "node-a", "no time"), "was not in the bucket at the end of that; should the node end now"),
            (
                .waitingForNode(
                    .init(for: "node-a", waited: .seconds(40), silence: .seconds(20), limit: .seconds(600))),
                "waiting for 40 s; the node has been silent for 20 s, and is given up after 10 min 0 s of that"
            ),
            (
                .leaseRevoked(try loss(newest: 3), silence: .seconds(601)),
                "node node-a was silent for 10 min 1 s while it had the volume open, and its lease is revoked: what node "
                    + "node-a wrote since 2027-01-15T08:00:00Z and had not committed is lost to the volume, which stands at "
                    + "generation 3. Should the node come back, it keeps that work as a branch"
            ),
            (
                .localCopyLost(node: "node-a", openSince: Date(timeIntervalSince1970: 1_800_000_000), newest: nil),
                "node node-a had the volume open since 2027-01-15T08:00:00Z, and its local copy is gone: what was written and "
                    + "not committed is lost to the volume, which stands at its creation"
            ),
            (.dataLost(try loss(newest: 0)), "it goes on from its creation: what node node-a wrote since"),
            (
                .branchKept(.init(epoch: 4, base: 3, node: "node-a")),
                "what it wrote after generation 3 is kept as the branch of epoch 4, and is not part of the volume"
            ),
        ]
    }

    @Test func eachSaysWhatHasHappened() throws {
        for (occurrence, words) in try examples() {
            let event = VolumeEvent(occurrence, of: volume, claim: nil, at: Date())
            #expect(event.note.hasPrefix("volume \(volume): "))
            #expect(event.note.contains(words), "\(event.note)")
        }
        #expect(Set(try examples().map(\.0.reason)) == Set(Reason.allCases))
    }

    @Test func aVolumeIsKnownByItsClaim() {
        let claim = VolumeEvent.Claim(namespace: "default", name: "results", uid: nil)
        let event = VolumeEvent(.unchanged(1), of: volume, claim: claim, at: Date())
        #expect(event.note.hasPrefix("volume default/results: "))
    }

    @Test(arguments: [
        ("pvc-0a1b2c3d-0000-4000-8000-00000000abcd", "0a1b2c3d-0000-4000-8000-00000000abcd" as String?),
        ("tiles-0a1b2c3d-0000-4000-8000-00000000abcd", "0a1b2c3d-0000-4000-8000-00000000abcd"),
        ("0a1b2c3d-0000-4000-8000-00000000abcd", "0a1b2c3d-0000-4000-8000-00000000abcd"),
        // The provisioner shortens the UID where it is told to.
        ("pvc-0a1b2c3d", nil), ("results", nil), ("", nil), ("pvc-0a1b2c3d-0000-4000-8000-00000000abc", nil),
        ("pvc-0a1b2c3d_0000-4000-8000-00000000abcd", nil), ("pvc0a1b2c3d-0000-4000-8000-00000000abcd", nil),
    ])
    func theClaimsUIDIsInTheVolumesName(name: String, uid: String?) {
        #expect(VolumeEvent.Claim.uid(in: name) == uid)
    }

    @Test func progressIsWhatTheNextOneSaysAnew() {
        for reason in Reason.allCases where reason.isProgress { #expect(reason.isRepeated && !reason.isWarning) }
        #expect(Reason.allCases.filter(\.isProgress) == [.restoring, .stagingOut, .waitingForNode])
    }
}

/// docs/events.md is what people search for the words of an event.
@Suite struct DocumentationTests {
    @Test func everyReasonIsThereAndNoOther() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let text = try String(contentsOf: root.appendingPathComponent("docs/events.md"), encoding: .utf8)
        let rows = text.split(separator: "\n").filter { $0.hasPrefix("| `") }
            .map { $0.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) } }
        let documented = rows.map { [$0[0], $0[1], $0[2]] }
        let expected = Reason.allCases.map {
            ["`\($0.rawValue)`", $0.isWarning ? "Warning" : "Normal", "`\($0.action.rawValue)`"]
        }
        #expect(documented == expected)
    }
}

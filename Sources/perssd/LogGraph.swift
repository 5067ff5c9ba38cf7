import Foundation
import Persistence
import Units

/// A volume's history drawn for people, newest first, as git draws one:
///
///     o  c/n2 writes since 2026-03-01 14:00:00 UTC: not staged out yet
///     |
///     * 5  2026-03-01 12:34:56 UTC  c/n1  3.0 MiB, 256.0 KiB changed  (newest, snapshot 'nightly')
///     |    lab/step as runner, from 2026-03-01 12:30:00 to 12:34:50 UTC
///     |      run = 17
///     | x  what c/n2 had not committed when it lost epoch 7, cut 2026-03-01 12:01:00 UTC
///     |/
///     * 4  2026-03-01 11:00:00 UTC  ...
struct LogGraph {
    private(set) var lines: [String] = []
    private let listing: VolumeListing
    private let marks: HistoryMarks
    private var branches: [GenerationRecord]
    private var isBegun = false

    init(_ listing: VolumeListing, _ marks: HistoryMarks) {
        (self.listing, self.marks) = (listing, marks)
        // Newest first, as all else.
        branches = marks.branches.sorted { ($0.number, $0.epoch) > ($1.number, $1.epoch) }
        if let lease = listing.head.lease, lease.state == .open {
            let what = lease.isHeldBack ? "holds back what was written" : "writes"
            line("o  \(lease.holder) \(what) since \(Output.time(lease.since)) UTC: not staged out yet")
            isBegun = true
        }
    }

    mutating func add(_ step: HistoryStep) {
        switch step {
        case .gap(let count): line(":  \(count == 1 ? "one that has" : "\(count) that have") expired")
        case .generation(let generation): add(generation)
        }
    }

    private mutating func add(_ generation: ProvenGeneration) {
        let (reference, record) = (generation.reference, generation.record)
        let isOwn = record.incarnation == listing.record.incarnation
        addBranches { isOwn ? $0.number > record.number : true }
        let clones = marks.clones[reference] ?? []
        for clone in clones.sorted(by: { $0.record.title < $1.record.title }) {
            let newest =
                clone.head.newest == reference ? "" : ", and is at generation \(clone.head.newest?.number ?? 0)"
            addSide("o  volume \(clone.record.title) begins here\(newest)")
        }
        if isBegun, lines.last?.first != "|", lines.last?.first != ":" { line("|") }
        let provenance = record.provenance
        var text =
            "* \(record.number)  \(Output.time(provenance.cutAt)) UTC  \(provenance.node)  "
            + "\(ByteCount(record.map.allocatedBytes)), \(ByteCount(provenance.changedBytes)) changed"
        if !isOwn { text += "  of volume \(record.volume)" }
        let names = self.names(of: reference)
        if !names.isEmpty { text += "  (\(names.joined(separator: ", ")))" }
        line(text)
        isBegun = true
        let bar = record.parent == nil ? " " : "|"
        if let omitted = provenance.omittedUses { line("\(bar)    \(omitted) uses before these") }
        for use in provenance.uses ?? [] {
            line("\(bar)    \(use.title)")
            for (name, value) in (use.labels ?? [:]).sorted(by: { $0.key < $1.key }) {
                line("\(bar)      \(name) = \(value)")
            }
        }
    }

    /// The history is shown to its end.
    mutating func end() { addBranches { _ in true } }

    private func names(of reference: GenerationReference) -> [String] {
        (reference == listing.head.newest ? ["newest"] : [])
            + (marks.snapshots[reference] ?? []).map { "snapshot '\($0.name)'" }.sorted()
            + (marks.pins[reference] ?? []).map { "label '\($0.label)'" }.sorted()
            + (marks.readers[reference] ?? []).map { "read by \($0.node)" }.sorted()
    }

    private mutating func addBranches(where isDue: (GenerationRecord) -> Bool) {
        for branch in branches.filter(isDue) {
            addSide(
                "x  what \(branch.provenance.node) had not committed when it lost epoch \(branch.epoch), cut "
                    + "\(Output.time(branch.provenance.cutAt)) UTC: @\(VolumeArgument.State.branch(epoch: branch.epoch))"
            )
        }
        branches.removeAll(where: isDue)
    }

    /// A line of development of its own, which joins at the next generation.
    private mutating func addSide(_ text: String) {
        line("| \(text)")
        line("|/")
    }

    private mutating func line(_ text: String) { lines.append(printable(text)) }
}

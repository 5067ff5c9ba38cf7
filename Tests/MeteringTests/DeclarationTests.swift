import Foundation
import Testing

@testable import Metering

/// What is declared follows Prometheus' rules of naming, and docs/metrics.md says all of it.
@Suite struct DeclarationTests {
    @Test func namesAndUnitsFollowTheRules() throws {
        let name = /perssd_[a-z]+(_[a-z]+)*/
        let label = /[a-z]+/
        for metric in Instruments.definitions {
            #expect(metric.name.wholeMatch(of: name) != nil, "\(metric.name)")
            #expect(metric.labels.allSatisfy { $0.wholeMatch(of: label) != nil && $0 != "le" }, "\(metric.name)")
            #expect(metric.help.hasSuffix(".") && metric.help.count > 10, "\(metric.name)")
            #expect(!metric.plugins.isEmpty)
            switch metric.kind {
            case .counter: #expect(metric.name.hasSuffix("_total"), "\(metric.name)")
            case .gauge: #expect(!metric.name.hasSuffix("_total"), "\(metric.name)")
            case .histogram(let buckets):
                #expect(metric.name.hasSuffix("_seconds"), "\(metric.name)")
                #expect(buckets == buckets.sorted() && Set(buckets).count == buckets.count && !buckets.isEmpty)
            }
        }
        #expect(Set(Instruments.definitions.map(\.name)).count == Instruments.definitions.count)
    }

    @Test func theDocumentationHasEachOfThem() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let text = try String(contentsOf: root.appendingPathComponent("docs/metrics.md"), encoding: .utf8)
        let rows = text.split(separator: "\n").filter { $0.hasPrefix("| `perssd_") }.map { row in
            row.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
        }
        let documented = Dictionary(uniqueKeysWithValues: rows.map { ($0[0], Array($0[1...])) })
        for metric in Instruments.definitions {
            let cells = try #require(documented["`\(metric.name)`"], "\(metric.name) is missing")
            #expect(cells[0] == metric.kind.name, "\(metric.name)")
            let labels = metric.labels.map { "`\($0)`" }.joined(separator: ", ")
            #expect(cells[1] == (labels.isEmpty ? "none" : labels), "\(metric.name)")
            let plugins =
                metric.plugins.count == 2 ? "both" : metric.plugins.contains(.node) ? "node" : "controller"
            #expect(cells[2] == plugins, "\(metric.name)")
            #expect(cells[3].count > 10, "\(metric.name)")
        }
        let declared = Set(Instruments.definitions.map { "`\($0.name)`" })
        #expect(documented.keys.allSatisfy { declared.contains($0) }, "\(documented.keys)")
    }
}

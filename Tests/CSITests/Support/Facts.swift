import Foundation

/// One line of csi-1.12.0-facts.tsv: kind, owner, name, number, type, label, oneof, options.
struct Fact: Hashable, CustomStringConvertible {
    let columns: [String]

    var kind: String { columns[0] }
    var owner: String { columns[1] }
    var name: String { columns[2] }
    var number: String { columns[3] }
    var type: String { columns[4] }
    var label: String { columns[5] }
    var oneof: String { columns[6] }
    var options: [String] { columns[7].split(separator: ",").map(String.init) }

    var description: String { columns.joined(separator: " ") }

    static func specification() throws -> [Fact] {
        let file = packageRoot.appending(path: "Tests/CSITests/Resources/csi-1.12.0-facts.tsv")
        return try lines(String(contentsOf: file, encoding: .utf8)).map { line in
            let columns = line.split(separator: "\t").map(String.init)
            guard columns.count == 8 else { throw TestFailure("\(file.path): not 8 columns: \(line)") }
            return Fact(columns: columns)
        }
    }

    static func lines(_ text: String) -> [Substring] {
        text.split(separator: "\n").filter { !$0.hasPrefix("#") }
    }
}

extension [Fact] {
    /// Every message that the facts name: those with fields, those that fields hold, and those of calls.
    var messageNames: Set<String> {
        var names: Set<String> = []
        let enums = Set(filter { $0.kind == "enum" }.map(\.owner))
        for fact in self {
            switch fact.kind {
            case "field": names.formUnion([fact.owner, fact.type])
            case "rpc": names.formUnion(fact.type.split(separator: " ").map(String.init))
            default: break
            }
        }
        return names.filter { $0.hasPrefix("csi.v1.") && !enums.contains($0) }
    }
}

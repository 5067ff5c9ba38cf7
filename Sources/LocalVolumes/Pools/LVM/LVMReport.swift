import Errors
import Foundation

/// A logical volume as `lvs -a` reports it (lvmreport(7)).
struct LogicalVolume: Sendable, Equatable {
    var name: String
    var sizeBytes: UInt64
    var tags: Set<String>
    /// "thin", "thin-pool", "striped", "linear", "raid1".
    var segmentType: String
    /// Of a thin volume: the pool it is in.
    var pool: String
    /// Of a thin volume: its number in the pool's metadata.
    var thinID: UInt32?
    var isActive: Bool
    /// How full it is, 0 to 100: a thin volume of mapped chunks, a pool of data. Nil while it is inactive.
    var dataPercent: Double?
    /// Of a thin pool.
    var metadataPercent: Double?
    /// Of a thin pool: of its metadata volume.
    var metadataBytes: UInt64?
    /// Of a thin pool.
    var chunkBytes: UInt64?
    /// Empty where all is well: "failed", "out_of_data", "metadata_read_only".
    var health: String
    /// Whether a thin pool's metadata needs a check.
    var needsCheck: Bool

    static let fields =
        "lv_name,lv_size,lv_tags,segtype,pool_lv,thin_id,lv_active,data_percent,metadata_percent,lv_metadata_size,"
        + "chunk_size,lv_health_status,lv_check_needed"

    /// What its mapped chunks take, of their own or shared with others.
    var mappedBytes: UInt64 { dataPercent.map { UInt64(Double(sizeBytes) * $0 / 100) } ?? sizeBytes }
}

/// A volume group as `vgs` reports it.
struct VolumeGroup: Sendable, Equatable {
    var name: String
    var tags: Set<String>
    var extentBytes: UInt64
    var missingDrives: Int

    static let fields = "vg_name,vg_tags,vg_extent_size,vg_missing_pv_count"
}

/// A physical volume as `pvs` reports it.
struct PhysicalVolume: Sendable, Equatable {
    var device: String
    /// Empty where it is in none.
    var group: String
    var freeBytes: UInt64

    static let fields = "pv_name,vg_name,pv_free"
}

/// Reads what the LVM tools print with `--reportformat json --units b --nosuffix`.
enum LVMReport {
    static func logicalVolumes(_ output: [UInt8]) throws -> [LogicalVolume] {
        try rows("lv", output).map { row in
            // Hidden volumes have their names in brackets.
            LogicalVolume(
                name: try row.text("lv_name").trimmingCharacters(in: ["[", "]"]),
                sizeBytes: try row.number("lv_size"), tags: try row.tags("lv_tags"),
                segmentType: try row.text("segtype"), pool: try row.text("pool_lv"),
                thinID: try row.optional("thin_id").map { try row.parse("thin_id", $0) },
                isActive: try row.text("lv_active").hasPrefix("active"),
                dataPercent: try row.optional("data_percent").map { try row.parse("data_percent", $0) },
                metadataPercent: try row.optional("metadata_percent").map { try row.parse("metadata_percent", $0) },
                metadataBytes: try row.optional("lv_metadata_size").map { try row.parse("lv_metadata_size", $0) },
                chunkBytes: try row.optional("chunk_size").map { try row.parse("chunk_size", $0) },
                health: try row.text("lv_health_status"),
                needsCheck: try row.text("lv_check_needed") == "check needed")
        }
    }

    static func volumeGroups(_ output: [UInt8]) throws -> [VolumeGroup] {
        try rows("vg", output).map { row in
            VolumeGroup(
                name: try row.text("vg_name"), tags: try row.tags("vg_tags"),
                extentBytes: try row.number("vg_extent_size"),
                missingDrives: try row.parse("vg_missing_pv_count", try row.text("vg_missing_pv_count")))
        }
    }

    static func physicalVolumes(_ output: [UInt8]) throws -> [PhysicalVolume] {
        try rows("pv", output).map { row in
            PhysicalVolume(
                device: try row.text("pv_name"), group: try row.text("vg_name"), freeBytes: try row.number("pv_free"))
        }
    }

    private struct Document: Decodable {
        var report: [[String: [[String: String]]]]
    }

    private static func rows(_ kind: String, _ output: [UInt8]) throws -> [Row] {
        do {
            let document = try JSONDecoder().decode(Document.self, from: Data(output))
            return document.report.flatMap { $0[kind] ?? [] }.map(Row.init)
        } catch {
            throw PerSSDError(
                .unsupported, "what the LVM tools report is not in the form that is known",
                remedy: "install lvm2 \(LVMTools.oldestVersion) or later", cause: error)
        }
    }

    private struct Row {
        var fields: [String: String]

        func text(_ name: String) throws -> String {
            guard let text = fields[name] else { throw unknown(name, "nothing") }
            return text
        }

        func optional(_ name: String) throws -> String? {
            let text = try text(name)
            return text.isEmpty ? nil : text
        }

        func number(_ name: String) throws -> UInt64 { try parse(name, try text(name)) }

        func parse<Value: LosslessStringConvertible>(_ name: String, _ text: String) throws -> Value {
            guard let value = Value(text) else { throw unknown(name, "'\(text.prefix(100))'") }
            return value
        }

        func tags(_ name: String) throws -> Set<String> {
            Set(try text(name).split(separator: ",").map(String.init))
        }

        private func unknown(_ name: String, _ what: String) -> PerSSDError {
            PerSSDError(
                .unsupported, "the LVM tools report \(what) as \(name)",
                remedy: "install lvm2 \(LVMTools.oldestVersion) or later")
        }
    }
}

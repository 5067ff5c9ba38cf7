import Errors
import Foundation
import Yams

/// The configuration file: YAML whose keys are those of `Setting`, and the list `pools`. A key that is not known is
/// refused, so that a misspelt one is never passed over.
public enum ConfigurationFile {
    /// A file larger than this is no configuration.
    private static let largest = 1 << 20

    /// - Throws: `notFound` or `permissionDenied` where the file cannot be read; `invalidArgument` for what is wrong in it.
    public static func read(_ path: String) throws -> SettingsLayer {
        let data: Data
        do {
            let file = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
            defer { try? file.close() }
            data = try file.read(upToCount: largest + 1) ?? Data()
        } catch {
            let isMissing = (error as? CocoaError)?.code == .fileReadNoSuchFile
            throw PerSSDError(
                isMissing ? .notFound : .permissionDenied, "the configuration file \(path) cannot be read",
                remedy: "check the path given with --config or \(SettingsLayer.configurationVariable)",
                cause: isMissing ? nil : error)
        }
        guard data.count <= largest, let text = String(data: data, encoding: .utf8) else {
            throw PerSSDError(
                .invalidArgument, "the configuration file \(path) is not UTF-8 text of at most \(largest) bytes",
                remedy: "give a YAML file")
        }
        return try parse(text, file: path)
    }

    /// - Parameter file: for errors.
    public static func parse(_ text: String, file: String) throws -> SettingsLayer {
        let root: Node?
        do {
            root = try Yams.compose(yaml: text)
        } catch let error as YamlError {
            throw PerSSDError(
                .invalidArgument, "\(file) is not valid YAML: \(oneLine("\(error)"))",
                remedy: "see docs/parameters.md for an example")
        }
        var layer = SettingsLayer()
        // A file of nothing but comments says nothing, which is fine.
        guard let root, root.null == nil else { return layer }
        let top = try ConfigurationSection(root, path: "", file: file, keys: topKeys)
        for setting in Setting.allCases {
            let names = setting.keyPath.split(separator: ".").map(String.init)
            guard names.count == 1 else { continue }
            layer.values[setting] = try top.scalar(names[0])
        }
        for name in sectionNames {
            let settings = Setting.allCases.filter { $0.keyPath.hasPrefix("\(name).") }
            let keys = settings.map { String($0.keyPath.dropFirst(name.count + 1)) }
            guard let section = try top.section(name, keys: keys) else { continue }
            for (setting, key) in zip(settings, keys) { layer.values[setting] = try section.scalar(key) }
        }
        layer.pools = try top.sections("pools", keys: PoolSettings.knownKeys).map { try PoolSettings($0) }
        return layer
    }

    /// The sections of the file, in order.
    static let sectionNames: [String] = {
        var names: [String] = []
        for setting in Setting.allCases {
            let parts = setting.keyPath.split(separator: ".")
            if parts.count == 2, !names.contains(String(parts[0])) { names.append(String(parts[0])) }
        }
        return names
    }()

    private static let topKeys =
        Setting.allCases.map(\.keyPath).filter { !$0.contains(".") } + sectionNames + ["pools"]

    private static func oneLine(_ text: String) -> String {
        text.split(whereSeparator: \.isNewline).joined(separator: " ")
    }
}

/// A mapping in the file, whose keys have been held against the known ones.
struct ConfigurationSection {
    private let mapping: Node.Mapping
    private let path: String
    private let file: String
    private let line: Int?

    init(_ node: Node, path: String, file: String, keys: [String]) throws {
        (self.path, self.file, self.line) = (path, file, node.mark?.line)
        guard let mapping = node.mapping else {
            let place = path.isEmpty ? "the whole file" : path
            throw Self.refused(
                file, node.mark?.line, "\(place) has to be keys with values", "see docs/parameters.md for an example")
        }
        self.mapping = mapping
        for key in mapping.keys {
            guard let name = key.string, keys.contains(name) else {
                let shown = path + (path.isEmpty ? "" : ".") + String((key.string ?? "?").prefix(100))
                throw Self.refused(
                    file, key.mark?.line, "unknown key \(shown)",
                    "the known ones\(path.isEmpty ? "" : " in \(path)") are \(keys.sorted().joined(separator: ", "))")
            }
        }
    }

    /// "/etc/perssd.yaml:7: pools[0]".
    var source: String { Self.place(file, line) + path }

    func scalar(_ key: String) throws -> Given? {
        guard let node = mapping[key], node.null == nil else { return nil }
        let place = Self.place(file, node.mark?.line) + full(key)
        guard let scalar = node.scalar else {
            throw PerSSDError(
                .invalidArgument, "\(place) has to be one value", remedy: "see docs/parameters.md for an example")
        }
        return Given(scalar.string, from: place)
    }

    /// One value, or a list of them.
    func scalars(_ key: String) throws -> [Given] {
        guard let sequence = mapping[key]?.sequence else { return try scalar(key).map { [$0] } ?? [] }
        return try sequence.enumerated().map { index, node in
            let place = Self.place(file, node.mark?.line) + "\(full(key))[\(index)]"
            guard let scalar = node.scalar else {
                throw PerSSDError(
                    .invalidArgument, "\(place) has to be one value", remedy: "see docs/parameters.md for an example")
            }
            return Given(scalar.string, from: place)
        }
    }

    func section(_ key: String, keys: [String]) throws -> ConfigurationSection? {
        guard let node = mapping[key], node.null == nil else { return nil }
        return try ConfigurationSection(node, path: full(key), file: file, keys: keys)
    }

    func sections(_ key: String, keys: [String]) throws -> [ConfigurationSection] {
        guard let node = mapping[key], node.null == nil else { return [] }
        guard let sequence = node.sequence else {
            throw Self.refused(
                file, node.mark?.line, "\(full(key)) has to be a list", "begin each entry with '- '")
        }
        return try sequence.enumerated().map { index, node in
            try ConfigurationSection(node, path: "\(full(key))[\(index)]", file: file, keys: keys)
        }
    }

    private func full(_ key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }

    private static func place(_ file: String, _ line: Int?) -> String { line.map { "\(file):\($0): " } ?? "\(file): " }

    private static func refused(_ file: String, _ line: Int?, _ what: String, _ remedy: String) -> PerSSDError {
        PerSSDError(.invalidArgument, place(file, line) + what, remedy: remedy)
    }
}

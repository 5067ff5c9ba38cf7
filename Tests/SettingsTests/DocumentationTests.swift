import Foundation
import Persistence
import Testing

@testable import Settings

/// The documentation has every setting there is.
@Suite struct DocumentationTests {
    private let parameters: String

    init() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        parameters = try String(contentsOf: root.appendingPathComponent("docs/parameters.md"), encoding: .utf8)
    }

    @Test func everySettingIsThere() {
        for setting in Setting.allCases {
            #expect(parameters.contains("| `\(setting.option)` |"), "\(setting)")
            #expect(parameters.contains("| `\(setting.keyPath)` |"), "\(setting)")
            for variable in setting.variables { #expect(parameters.contains("`\(variable)`"), "\(setting)") }
        }
        for key in PoolSettings.knownKeys { #expect(parameters.contains("| `\(key)` |"), "\(key)") }
        for key in VolumeGroupSettings.driveKeys { #expect(parameters.contains("| `drives.\(key)` |"), "\(key)") }
        for variable in [SettingsLayer.poolVariable, SettingsLayer.configurationVariable] {
            #expect(parameters.contains("`\(variable)`"))
        }
    }

    @Test func everyParameterOfAStorageClassIsThere() {
        for key in VolumeParameters.knownKeys { #expect(parameters.contains("| `\(key)` |"), "\(key)") }
    }

    @Test func theExampleOfAFileIsOne() throws {
        let start = try #require(parameters.range(of: "```yaml\n")).upperBound
        let end = try #require(parameters.range(of: "```", range: start..<parameters.endIndex)).lowerBound
        let layer = try ConfigurationFile.parse(String(parameters[start..<end]), file: "example")
        var complete = layer
        complete.values[.endpoint] = Given("unix:///a", from: "test")
        let all = try ServiceSettings(complete)
        #expect(all.cluster == "production")
        #expect(all.pools == [PoolSettings(directory: "/var/lib/perssd/pool", sizeBytes: 800 << 30)])
        #expect(all.log == LogSettings(level: .info, format: .json))
    }
}

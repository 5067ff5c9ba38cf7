import ArgumentParser
import Errors
import Testing

@testable import Settings

/// What the options, environment and file below make together.
func settings(
    _ arguments: [String] = [], environment: [String: String] = [:], file: String? = nil
) throws -> ServiceSettings {
    let options = try ServiceOptions.parse(arguments)
    var layer = try options.store.layers(options.values, pools: options.pools, environment: environment)
    if let file { layer = layer.over(try ConfigurationFile.parse(file, file: "test.yaml")) }
    return try ServiceSettings(layer)
}

/// The least that a process needs.
let least = ["--endpoint", "unix:///run/csi.sock", "--store", "file:///shared"]

/// The error that `body` throws, which has to be one.
func refusal(_ body: () throws -> some Any, sourceLocation: SourceLocation = #_sourceLocation) -> PerSSDError {
    do {
        let value = try body()
        Issue.record("accepted: \(value)", sourceLocation: sourceLocation)
    } catch let error as PerSSDError {
        return error
    } catch {
        Issue.record("another error: \(error)", sourceLocation: sourceLocation)
    }
    return PerSSDError(.internal, "")
}

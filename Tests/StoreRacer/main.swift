// A process that uses a store beside others, for the tests of what holds between processes.
//
//     store-racer LOCATION identity
//     store-racer LOCATION count KEY ATTEMPTS     adds 1 to a number by compare-and-swap; prints how often it could
//     store-racer LOCATION rewrite KEY BYTES      replaces an object for ever: a page of it repeats one random byte
//     store-racer LOCATION check
//
// LOCATION: file:///directory, or s3:ENDPOINT:BUCKET with credentials in the environment.

import Errors
import Foundation
import Persistence

func openStore(_ location: String) async throws -> any ObjectStore {
    guard location.hasPrefix("s3:") else { return try await DirectoryStore.open(location: location) }
    let rest = location.dropFirst(3)
    guard let colon = rest.lastIndex(of: ":") else { throw PerSSDError(.invalidArgument, "no bucket in \(location)") }
    var configuration = try S3Configuration(
        bucket: String(rest[rest.index(after: colon)...]), endpoint: String(rest[..<colon]))
    configuration.credentials = .environment
    return try S3Store(configuration)
}

func number(_ object: StoredObject) throws -> Int {
    let text = String(decoding: object.bytes, as: UTF8.self)
    guard let value = text.split(separator: " ").first.flatMap({ Int($0) }) else {
        throw PerSSDError(.corrupt, "the counter holds \(object.bytes.count) bytes that are no number")
    }
    return value
}

func run(_ words: [String]) async throws {
    guard words.count >= 2 else { throw PerSSDError(.invalidArgument, "usage: store-racer LOCATION COMMAND ...") }
    let store = try await openStore(words[0])
    switch (words[1], words.count) {
    case ("identity", 2):
        print(try await StoreIdentity.establish(in: store).id)
    case ("check", 2):
        try await store.check()
    case ("count", 4):
        let key = try ObjectKey(words[2])
        var successes = 0
        for _ in 0..<(Int(words[3]) ?? 0) {
            guard let object = try await store.read(key) else { throw PerSSDError(.notFound, "there is no counter") }
            // No two writers ever write the same.
            let next = [UInt8]("\(try number(object) + 1) by \(UInt64.random(in: 0...UInt64.max))".utf8)
            do {
                _ = try await store.write(key, next, condition: .matches(object.etag))
                successes += 1
            } catch let error as PerSSDError where error.code == .conflict {}
        }
        print(successes)
    case ("rewrite", 4):
        let key = try ObjectKey(words[2])
        let size = Int(words[3]) ?? 0
        while true {
            let bytes = [UInt8](repeating: .random(in: 0...255), count: size)
            // By turns the ways to replace an object.
            if Bool.random(), let info = try await store.info(key) {
                _ = try await store.write(key, bytes, condition: .matches(info.etag))
            } else {
                _ = try await store.write(key, bytes, condition: .none)
            }
        }
    default:
        throw PerSSDError(.invalidArgument, "store-racer does not know \(words.dropFirst())")
    }
}

do {
    try await run(Array(CommandLine.arguments.dropFirst()))
} catch {
    let error = PerSSDError(wrapping: error)
    FileHandle.standardError.write(Data("\(error.code.rawValue): \(error)\n".utf8))
    exit(1)
}

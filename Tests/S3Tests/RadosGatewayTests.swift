import Errors
import Foundation
import Persistence
import TestSupport
import Testing

/// What differs on Ceph's RADOS Gateway: it compares bare entity tags, and says 412 to quoted ones.
@Suite struct RadosGatewayTests {
    @Test func conditionsAreHonoured() async throws {
        let store = try await makeStore(on: RadosGateway.shared())
        try await store.check()
        let head = try key("head")
        let first = try await store.write(head, [1], condition: .absent)
        await expectError(.conflict) { _ = try await store.write(head, [2], condition: .absent) }
        let second = try await store.write(head, [2], condition: .matches(first))
        let before = store.statistics
        await expectError(.conflict) { _ = try await store.write(head, [3], condition: .matches(first)) }
        _ = try await store.write(head, [4], condition: .matches(second))
        // Once the form is known there is nothing more to find out.
        #expect(store.statistics.since(before).requests == [.write: 2])
        await expectError(.conflict) { _ = try await store.write(key("none"), [3], condition: .matches(first)) }
        #expect(try await store.read(head)?.bytes == [4])
    }

    @Test func aConflictIsNoneTheLessFoundByTheFirstWriteOfAll() async throws {
        let configuration = try await makeConfiguration(on: RadosGateway.shared())
        let old = try await S3Store(configuration).write(key("head"), [1], condition: .absent)
        _ = try await S3Store(configuration).write(key("head"), [2], condition: .matches(old))
        await expectError(.conflict) {
            _ = try await S3Store(configuration).write(key("head"), [3], condition: .matches(old))
        }
    }

    @Test func objectsAreWrittenWholeAndInPartsAndRead() async throws {
        let store = try await makeStore(on: RadosGateway.shared()) {
            ($0.partSize, $0.multipartThreshold) = (5 << 20, 5 << 20)
        }
        for count in [0, 1, 3 << 20, (11 << 20) + 7] {
            let bytes = someBytes(count)
            let tag = try await store.write(key("o\(count)"), bytes, condition: .none)
            let stored = try #require(try await store.read(key("o\(count)")))
            #expect(stored.bytes == bytes && stored.etag == tag)
        }
        let range = UInt64(5 << 20) - 5..<UInt64(5 << 20) + 5
        #expect(try await store.read(key("o\((11 << 20) + 7)"), range: range)?.count == 10)
        await expectError(.corrupt) { _ = try await store.read(key("o1"), range: 0..<2) }
        try await store.remove(key("o1"))
        #expect(try await store.info(key("o1")) == nil)
    }

    @Test func whoIsNotAllowedIsTold() async throws {
        let server = try await RadosGateway.shared()
        var configuration = try await makeConfiguration(on: server)
        configuration.credentials = .fixed(S3Credentials(accessKeyID: "AKNOBODY", secretAccessKey: "x"))
        let stranger = try S3Store(configuration)
        await expectError(.unauthenticated) { try await stranger.check() }
        configuration.credentials = .fixed(
            S3Credentials(accessKeyID: server.endpoint.accessKey, secretAccessKey: "wrong"))
        let forger = try S3Store(configuration)
        await expectError(.unauthenticated) { try await forger.check() }
    }
}
